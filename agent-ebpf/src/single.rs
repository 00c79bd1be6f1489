//! The object for kernels before `uprobe_multi` (5.10 to 6.5): one entry program for each site,
//! because cookies for them came in 5.15 only, and one return program.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
mod emit;
#[cfg(target_arch = "bpf")]
#[path = "chained.rs"]
mod long_call;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod process;
#[cfg(target_arch = "bpf")]
mod registers;
#[cfg(target_arch = "bpf")]
mod socket;
#[cfg(target_arch = "bpf")]
mod ssl;
#[cfg(target_arch = "bpf")]
mod task;

#[cfg(target_arch = "bpf")]
mod programs {
    use agent_common::site;
    use aya_ebpf::macros::{uprobe, uretprobe};
    use aya_ebpf::programs::{ProbeContext, RetProbeContext};

    use crate::{long_call, ssl};

    macro_rules! entry_programs {
        ($($name:ident => $site:expr,)+) => {$(
            #[uprobe]
            fn $name(context: ProbeContext) -> u32 {
                ssl::enter(&context, $site);
                0
            }
        )+};
    }

    entry_programs! {
        read_enter => site::READ,
        read_ex_enter => site::READ_EX,
        write_enter => site::WRITE,
        write_ex_enter => site::WRITE_EX,
        free_enter => site::FREE,
        ctrl_enter => site::CTRL,
        set_host_enter => site::SET_HOST_NAME,
        set_fd_enter => site::SET_FD,
        new_enter => site::NEW,
        handshake_enter => site::HANDSHAKE,
        write_ex2_enter => site::WRITE_EX2,
    }

    /// Return of a function whose result counts.
    #[uretprobe]
    fn call_exit(context: RetProbeContext) -> u32 {
        ssl::exit(&context);
        0
    }

    /// Goes on copying a long call.
    #[uretprobe]
    fn call_resume(context: RetProbeContext) -> u32 {
        long_call::resume(&context);
        0
    }

    #[panic_handler]
    fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
        loop {}
    }

    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
