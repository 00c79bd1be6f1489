# The ledger in /var/lib/bpftok stays.
if [ "$1" -eq 0 ]; then
    link=/etc/systemd/system/bpftok.service.d/10-older-kernel.conf
    if [ -L "$link" ]; then
        rm -f "$link"
        rmdir /etc/systemd/system/bpftok.service.d 2>/dev/null || :
    fi
fi
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || :
fi
