"""The throw-away hosts themselves: what the other tests take for granted about them."""

from __future__ import annotations

from tests.hosts.tree import SUDO_PASSWORD


def boot(machine):
    return machine.ssh("cat /run/boot 2>/dev/null || cat /proc/sys/kernel/random/uuid | tee /run/boot").stdout


def test_a_reboot_and_a_power_cut_keep_the_disk_and_nothing_else(host):
    machine = host()
    machine.ssh("echo kept >/root/file; nohup sleep 1000 >/dev/null 2>&1 &")
    for restart in (machine.reboot, machine.power_cut):
        before = boot(machine)
        restart()
        assert boot(machine) != before
        assert machine.ssh("cat /root/file; ps -e | grep -c sleep", check=False).stdout == "kept\n0\n"


def test_hosts_leave_each_other_alone(host):
    one, two = host(), host(suite="bookworm")
    assert one.ssh("cat /etc/machine-id").stdout != two.ssh("cat /etc/machine-id").stdout
    two.down()
    assert one.ssh("systemctl is-active ssh").stdout == "active\n"
    assert not two.alive(), "down, though its address may be another test's host by now"


def test_sudo_asks_one_user_for_a_password(host):
    machine = host()
    assert machine.ssh("sudo -n id -u", user="deploy").stdout == "0\n"
    assert machine.ssh("sudo -n id -u", user="deploypw", check=False).returncode
    assert machine.ssh("sudo -S id -u", user="deploypw", input=SUDO_PASSWORD + "\n").stdout == "0\n"


def test_without_systemd_packages_start_nothing(host):
    machine = host(init="none")
    assert machine.ssh("cat /proc/1/comm").stdout == "sshd\n"
    assert "denied" in machine.ssh("invoke-rc.d ssh start").stderr
    machine.reboot()
    assert machine.alive()
