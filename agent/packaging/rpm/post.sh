systemd-sysusers bpftok.conf || :
systemd-tmpfiles --create bpftok.conf || :
/usr/lib/bpftok/fit-service || :
# It reads the plaintext of TLS connections, so it is not started unasked:
# systemctl enable --now bpftok
if [ "$1" -gt 1 ] && [ -d /run/systemd/system ]; then
    systemctl try-restart bpftok.service || :
fi
