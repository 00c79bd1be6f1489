//! A call of the host's TLS library that probes must show: what the child of a check does.
//!
//! A package of its own, because a static program can't load a library: where the agent is one, the
//! program of this package makes the call.

use std::ffi::{CString, c_char, c_int, c_long, c_void};
use std::io::{self, BufRead as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use thiserror::Error;

/// `SSL_CTRL_SET_TLSEXT_HOSTNAME` and `TLSEXT_NAMETYPE_host_name` (OpenSSL `tls1.h`).
const SET_HOST_NAME: c_int = 55;
const NAME_TYPE_HOST: c_long = 0;

/// Why the call can't be made.
#[derive(Debug, Error)]
pub enum Error {
    /// There is no name to set.
    #[error("no host name was given")]
    Name(#[source] io::Error),
    /// Rights could not be given up.
    #[error("rights can't be given up")]
    Rights(#[source] io::Error),
    /// The library can't be loaded.
    #[error("the library can't be loaded")]
    Library,
    /// It lacks a function.
    #[error("the library has no {0}")]
    Function(&'static str),
    /// It makes no object.
    #[error("the library makes no object")]
    Object,
}

/// Makes the call: what the child does. It reads the host name, gives up all rights, and loads the
/// library.
///
/// # Errors
///
/// The call can't be made.
pub fn call(library: &Path) -> Result<(), Error> {
    let mut name = String::new();
    io::stdin()
        .lock()
        .read_line(&mut name)
        .map_err(Error::Name)?;
    let name = CString::new(name.trim_end()).map_err(|error| Error::Name(error.into()))?;
    give_up_rights().map_err(Error::Rights)?;
    set_name(library, &name)
}

/// A library runs code of its own as it is loaded: nothing of the agent's rights is left to it.
fn give_up_rights() -> io::Result<()> {
    use rustix::thread::{CapabilitySet, CapabilitySets, Gid, Uid};

    /// The user without rights, by convention.
    const NOBODY: u32 = 65_534;

    rustix::thread::set_no_new_privs(true)?;
    if rustix::process::geteuid().is_root() {
        let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        rustix::thread::set_thread_groups(&[])?;
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    }
    rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            effective: CapabilitySet::empty(),
            permitted: CapabilitySet::empty(),
            inheritable: CapabilitySet::empty(),
        },
    )?;
    Ok(())
}

/// A loaded library. It stays loaded until the process ends.
struct Library(*mut c_void);

#[expect(unsafe_code, reason = "a library is loaded and called by name")]
impl Library {
    fn load(path: &Path) -> Result<Self, Error> {
        let path = CString::new(path.as_os_str().as_bytes()).map_err(|_zero| Error::Library)?;
        // SAFETY: the path is a C string. What the library does as it is loaded is as it is for
        // every program of the host that uses it.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        if handle.is_null() {
            return Err(Error::Library);
        }
        Ok(Self(handle))
    }

    /// A function of it, as a type that the caller knows it to have.
    ///
    /// # Safety
    ///
    /// `F` is a function pointer of the C interface, with the signature of the function `name`.
    unsafe fn function<F: Copy>(&self, name: &'static str) -> Result<F, Error> {
        const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
        let c_name = CString::new(name).map_err(|_zero| Error::Function(name))?;
        // SAFETY: the handle is of a library that is loaded, the name a C string.
        let found = unsafe { libc::dlsym(self.0, c_name.as_ptr()) };
        if found.is_null() {
            return Err(Error::Function(name));
        }
        // SAFETY: the caller says that this is what the address is of; both have one size.
        Ok(unsafe { std::mem::transmute_copy(&found) })
    }
}

type Make = unsafe extern "C" fn(*const c_void) -> *mut c_void;
type Drop = unsafe extern "C" fn(*mut c_void);
type Control = unsafe extern "C" fn(*mut c_void, c_int, c_long, *const c_char) -> c_long;

/// Sets a host name on a new object, and frees it.
#[expect(
    unsafe_code,
    clippy::multiple_unsafe_ops_per_block,
    reason = "a library is called by name"
)]
fn set_name(library: &Path, name: &CString) -> Result<(), Error> {
    let library = Library::load(library)?;
    // SAFETY: these are the signatures of OpenSSL's functions since 1.1.0, and of BoringSSL's.
    let (method, make_context, make, control, drop_object, drop_context) = unsafe {
        (
            library.function::<unsafe extern "C" fn() -> *const c_void>("TLS_client_method")?,
            library.function::<Make>("SSL_CTX_new")?,
            library.function::<Make>("SSL_new")?,
            library.function::<Control>("SSL_ctrl")?,
            library.function::<Drop>("SSL_free")?,
            library.function::<Drop>("SSL_CTX_free")?,
        )
    };
    // SAFETY: each gets what the one before made; the objects are freed once, and last.
    unsafe {
        let context = make_context(method());
        if context.is_null() {
            return Err(Error::Object);
        }
        let object = make(context);
        if object.is_null() {
            return Err(Error::Object);
        }
        control(object, SET_HOST_NAME, NAME_TYPE_HOST, name.as_ptr());
        drop_object(object);
        drop_context(context);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_none_is_refused() {
        let name = CString::new("x.invalid").unwrap();
        for path in ["/nonexistent", "/etc/passwd"] {
            assert!(matches!(
                set_name(Path::new(path), &name),
                Err(Error::Library)
            ));
        }
    }
}
