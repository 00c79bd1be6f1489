//! What a probe site means: which function it is the entry of.
//!
//! Kernels with `uprobe_multi` (6.6) pass the number to the one entry program as the site's
//! cookie; on older ones each number has a program of its own.

/// `int SSL_read(SSL *ssl, void *buf, int num)`.
pub const READ: u64 = 1;
/// `int SSL_read_ex(SSL *ssl, void *buf, size_t num, size_t *readbytes)`.
pub const READ_EX: u64 = 2;
/// `int SSL_write(SSL *ssl, const void *buf, int num)`.
pub const WRITE: u64 = 3;
/// `int SSL_write_ex(SSL *ssl, const void *buf, size_t num, size_t *written)`.
pub const WRITE_EX: u64 = 4;
/// `void SSL_free(SSL *ssl)`.
pub const FREE: u64 = 5;
/// `long SSL_ctrl(SSL *ssl, int cmd, long larg, void *parg)`.
pub const CTRL: u64 = 6;
/// `int SSL_set_tlsext_host_name(SSL *ssl, const char *name)`, a function in BoringSSL only.
pub const SET_HOST_NAME: u64 = 7;
/// `int SSL_set_fd(SSL *ssl, int fd)`, and `SSL_set_rfd` and `SSL_set_wfd`.
pub const SET_FD: u64 = 8;
/// `SSL *SSL_new(SSL_CTX *ctx)`: what it returns is a new object, whatever was at its address.
/// Probed where [`FREE`] can't be.
pub const NEW: u64 = 9;
/// `int SSL_do_handshake(SSL *ssl)`, also called on connections whose handshake is done. Probed
/// where [`FREE`] can't be.
pub const HANDSHAKE: u64 = 10;
/// `int SSL_write_ex2(SSL *ssl, const void *buf, size_t num, uint64_t flags, size_t *written)`.
pub const WRITE_EX2: u64 = 11;
