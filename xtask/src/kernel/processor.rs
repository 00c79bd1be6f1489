//! The processors that guests have, and the machines around them.

/// A processor of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Processor {
    X86_64,
    Arm64,
}

impl Processor {
    /// As Debian calls it.
    pub(crate) const fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// What keeps files of this processor apart from those of the first.
    pub(crate) const fn suffix(self) -> &'static str {
        match self {
            Self::X86_64 => "",
            Self::Arm64 => "-arm64",
        }
    }

    pub(super) const fn emulator(self) -> &'static str {
        match self {
            Self::X86_64 => "qemu-system-x86_64",
            Self::Arm64 => "qemu-system-aarch64",
        }
    }

    /// The machine, and its processor with all that the emulator can do.
    pub(super) const fn machine(self) -> &'static [&'static str] {
        match self {
            Self::X86_64 => &["-cpu", "max"],
            // Pointers are signed by a fast hash: the architecture's own takes most of the time.
            // Kernels before 5.12 do not boot on a processor with addresses of 52 bits.
            Self::Arm64 => &["-machine", "virt", "-cpu", "max,pauth-impdef=on,lpa2=off"],
        }
    }

    /// How the report leaves the machine, beside the console.
    pub(super) const fn report(self) -> [&'static str; 2] {
        match self {
            Self::X86_64 => ["-serial", "chardev:report"],
            // It has one serial port of its own.
            Self::Arm64 => ["-device", "pci-serial,chardev=report"],
        }
    }

    /// Of the kernel's command line: the console, and for init the devices of output and report.
    pub(super) const fn parameters(self) -> &'static str {
        match self {
            // A busy host gives the emulated timer no turn for so long that the kernel may take it for
            // broken and panic.
            Self::X86_64 => "console=ttyS0,115200 no_timer_check output=ttyS0 report=ttyS1",
            Self::Arm64 => "console=ttyAMA0 output=ttyAMA0 report=ttyS0",
        }
    }
}
