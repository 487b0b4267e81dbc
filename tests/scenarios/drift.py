"""What becomes of a provisioned host by other hands: each of it is found by the next run, and mended."""

from __future__ import annotations

# What somebody did, and how it shows that it is mended.
DRIFTS = {
    "a file edited": ("echo '# mine' >>/etc/redis/celeryhost.conf", "! grep -q '# mine' /etc/redis/celeryhost.conf"),
    "a setting changed": (
        "REDISCLI_AUTH=$(cat /etc/celeryhost/redis.password) redis-cli config set maxmemory-policy allkeys-lru",
        "REDISCLI_AUTH=$(cat /etc/celeryhost/redis.password) redis-cli config get maxmemory-policy | grep noeviction",
    ),
    "a package removed": ("apt-get -qq -y remove logrotate", "dpkg -s logrotate | grep 'ok installed'"),
    "a service stopped": ("systemctl stop redis-server", "systemctl is-active redis-server"),
    "a service not started at boot": ("systemctl disable supervisor", "systemctl is-enabled supervisor"),
    "a mode changed": (
        "chmod 0644 /etc/supervisor/conf.d/mysite-celery.conf",
        "stat -c %a /etc/supervisor/conf.d/mysite-celery.conf | grep -x 600",
    ),
    "a log open to others": (
        "chmod 0666 /var/log/mysite/beat.log",
        "stat -c %U:%a /var/log/mysite/beat.log | grep -x mysite:640",
    ),
    "code edited": ("echo 'x = 1' >>/srv/mysite/app/tasks.py", "! grep '^x = 1' /srv/mysite/app/tasks.py"),
    "code and a file at once": (
        "echo 'x = 1' >>/srv/mysite/app/tasks.py; chmod 0644 /etc/redis/celeryhost.conf",
        "! grep '^x = 1' /srv/mysite/app/tasks.py && stat -c %a /etc/redis/celeryhost.conf | grep -x 640",
    ),
    "a program stopped": ("celeryhost stop mysite-beat", "celeryhost status mysite-beat"),
    "the command open to others": (
        "chmod 0666 /usr/local/lib/celeryhost/celeryhost/logs/reader.py",
        "stat -c %a /usr/local/lib/celeryhost/celeryhost/logs/reader.py | grep -x 644",
    ),
    "the command edited": (
        "echo 'x = 1' >>/usr/local/lib/celeryhost/celeryhost/logs/reader.py",
        "! grep '^x = 1' /usr/local/lib/celeryhost/celeryhost/logs/reader.py",
    ),
}


def find_and_mend(host, provision: str) -> None:
    """Do each to `host` and call `provision` there; in the end nothing differs."""
    for what, (broken, mended) in DRIFTS.items():
        host.ssh(broken)
        said = host.ssh(f"cd celeryhost && {provision} -e celery_verify=false").stdout
        assert "changed=0 " not in said, what
        assert host.ssh(mended, check=False).returncode == 0, f"{what}: {said}"
    assert "Nothing differs" in host.ssh(f"cd celeryhost && {provision}").stdout
