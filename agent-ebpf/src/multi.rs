//! The object for kernels with `uprobe_multi` links (6.6 and later): one entry program for all
//! sites, told apart by their cookies, and one return program.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]

#[cfg(target_arch = "bpf")]
mod emit;
#[cfg(target_arch = "bpf")]
#[path = "looped.rs"]
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
    use aya_ebpf::EbpfContext as _;
    use aya_ebpf::helpers::generated::bpf_get_attach_cookie;
    use aya_ebpf::macros::{uprobe, uretprobe};
    use aya_ebpf::programs::{ProbeContext, RetProbeContext};

    use crate::ssl;

    /// Entry of any probed function.
    #[uprobe(multi)]
    fn call_enter(context: ProbeContext) -> u32 {
        // SAFETY: the context is the program's own.
        let site = unsafe { bpf_get_attach_cookie(context.as_ptr()) };
        ssl::enter(&context, site);
        0
    }

    /// Return of a function whose result counts.
    #[uretprobe(multi)]
    fn call_exit(context: RetProbeContext) -> u32 {
        ssl::exit(&context);
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
