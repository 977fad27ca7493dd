"""conesocks user: changes users_file, and tells the running server."""
import fcntl
import grp
import json
import os
import stat
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import LISTEN
from daemon import PROGRAM
from netns import CLIENT_V4
from test_auth import REFUSED, RIGHT, log_in
from test_reload import OTHER_USERS

HASH = "$y$j9T$abcdefgh$9WNEpu8Mx2S4KNGvbVWKM6clOSoY6.YEl7AYF4DGV04"
WITH_LOGIN = [{"address": entry["address"], "port": entry["port"]} for entry in LISTEN]


@pytest.fixture
def users(folder):
    return folder / "users"


@pytest.fixture
def user(users):
    """user("add", "bob", ...) changes the file itself; the result of subprocess.run()."""
    def run(*arguments, password="wonderland", file=users):
        where = () if "-c" in arguments else ("--file", str(file))
        return subprocess.run([PROGRAM, "user", *arguments, *where], input=password + "\n", text=True, capture_output=True,
                              check=False)
    return run


def names(users):
    return [line.split(":")[0] for line in users.read_text(encoding="utf-8").splitlines()]


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_users_are_added_changed_and_removed(user, users):
    added = user("add", "alice", "--expires", "2026-12-31", "--volume", "100GiB")
    assert added.returncode == 0 and added.stdout.startswith(f"alice: added to {users}\n")
    assert users.read_text(encoding="ascii").startswith("alice:$y$")
    assert users.read_text(encoding="ascii").endswith(":expires=2026-12-31,volume=100GiB\n")
    assert user("add", "bob").returncode == 0 and names(users) == ["alice", "bob"]
    before = users.read_text(encoding="ascii")
    assert user("passwd", "alice").returncode == 0
    after = users.read_text(encoding="ascii")
    assert before.splitlines()[1] == after.splitlines()[1] and before.splitlines()[0] != after.splitlines()[0]
    assert after.splitlines()[0].endswith(":expires=2026-12-31,volume=100GiB")
    assert user("set", "alice", "--expires", "never", "--volume", "default", "--sessions", "5").returncode == 0
    assert users.read_text(encoding="ascii").splitlines()[0].endswith(":sessions=5")
    assert user("del", "alice").returncode == 0 and names(users) == ["bob"]


def test_a_user_who_has_expired_is_told_at_once(user):
    """A wrong year is noticed where it was typed, not when the user complains."""
    assert "warning: guest cannot log in: expires is 2020-01-31" in user("add", "guest", "--expires", "2020-01-31").stderr
    assert "2020-01-31" in user("passwd", "guest").stderr
    assert "warning" not in user("set", "guest", "--expires", "9999-12-31").stderr + user("del", "guest").stderr


def test_comments_and_order_stay(user, users):
    users.write_text(f"# ours\n\nbob:{HASH}\r\n# indented\ncarol: {HASH}:sessions=3 \n#end", encoding="ascii")
    users.chmod(0o640)
    assert user("add", "dave").returncode == 0
    lines = users.read_text(encoding="ascii").split("\n")
    assert lines[:6] == ["# ours", "", f"bob:{HASH}", "# indented", f"carol: {HASH}:sessions=3 ", "#end"]
    assert lines[6].startswith("dave:$y$") and lines[7:] == [""]
    assert user("set", "carol", "--sessions", "4").returncode == 0
    assert user("del", "bob").returncode == 0
    assert users.read_text(encoding="ascii").split("\n")[:5] == ["# ours", "", "# indented", f"carol:{HASH}:sessions=4",
                                                                 "#end"]


def test_a_byte_order_mark_hides_no_user(user, users):
    """Some editors write it. A user who is told to be removed must not stay."""
    users.write_bytes(f"\ufeffbob:{HASH}\ncarol:{HASH}\n".encode())
    users.chmod(0o640)
    assert user("set", "bob", "--sessions", "4").returncode == 0
    assert users.read_bytes() == f"\ufeffbob:{HASH}:sessions=4\ncarol:{HASH}\n".encode()
    assert user("del", "bob").returncode == 0
    assert users.read_bytes() == f"\ufeffcarol:{HASH}\n".encode()


def test_owner_group_and_mode_stay(user, users):
    users.write_text(f"bob:{HASH}\n", encoding="ascii")
    os.chown(users, 0, 65534 if OTHER_USERS else 0)
    users.chmod(0o460)
    before = users.stat()
    assert user("add", "alice").returncode == 0
    after = users.stat()
    assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)
    assert sorted(path.name for path in users.parent.iterdir()) == ["users"]


def test_a_new_file_is_private(user, users):
    assert user("add", "alice").returncode == 0
    has_group = any(group.gr_name == "conesocks" for group in grp.getgrall())
    assert mode(users) == (0o640 if has_group else 0o600)


def test_what_is_no_file_is_refused(user, users, folder):
    users.write_text(f"bob:{HASH}\n", encoding="ascii")
    users.chmod(0o600)
    link = folder / "link"
    link.symlink_to(users)
    done = user("add", "alice", file=link)
    assert done.returncode == 1 and "is a symbolic link" in done.stderr and link.is_symlink()
    assert "not a regular file" in user("add", "alice", file="/dev/null").stderr
    assert user("add", "alice", file=folder / "none" / "users").returncode == 1
    users.chmod(0o644)
    assert "anybody can read" in user("add", "alice").stderr and names(users) == ["bob"]


def test_the_result_must_be_valid(user, users):
    users.write_text(f"bob:{HASH}\n", encoding="ascii")
    users.chmod(0o600)
    done = user("del", "bob")
    assert done.returncode == 1 and "nothing has changed" in done.stderr and names(users) == ["bob"]
    users.write_text(f"bob:{HASH}\nplain:text\n", encoding="ascii")
    done = user("add", "alice")
    assert done.returncode == 1 and f"{users}:2:7: password" in done.stderr and names(users) == ["bob", "plain"]


def test_wrong_names_and_values(user, users):
    assert user("add", "bob").returncode == 0
    for name in ("", "a:b", "a\nb", "a\x7f", "#a", "a ", "x" * 256):
        assert user("add", name).returncode == 1, name
    assert "exists already" in user("add", "bob").stderr
    for verb in "passwd", "del", "set":
        assert "is no user of" in user(verb, "eve").stderr
    wrong = user("add", "eve", "--volume", "5")
    assert wrong.returncode == 2 and "the unit is missing" in wrong.stderr
    for arguments in ((), ("add",), ("add", "a", "b"), ("list", "a"), ("frobnicate",), ("set", "bob"), ("add", "a", "--colour")):
        assert user(*arguments).returncode == 2, arguments
    assert names(users) == ["bob"]


def test_two_at_once(user, users):
    """Each of them finds the other's user."""
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda number: user("add", f"user{number}"), range(24)))
    assert all(each.returncode == 0 for each in done), [each.stderr for each in done]
    assert sorted(names(users)) == sorted(f"user{number}" for number in range(24))


def test_a_lock_of_the_folder_stops_nobody(user, users, folder):
    """Any user of the host can lock a folder such as /etc."""
    users.write_text(f"bob:{HASH}\n", encoding="ascii")
    users.chmod(0o600)
    place = os.open(folder, os.O_RDONLY)
    fcntl.flock(place, fcntl.LOCK_EX)
    assert user("add", "alice").returncode == 0
    os.close(place)
    with open(users, encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "another command is changing it" in user("del", "bob").stderr
    assert user("del", "bob").returncode == 0 and names(users) == ["alice"]


def test_the_configuration_names_the_file(user, folder, users):
    config = folder / "c.yaml"
    config.write_text("listen: [{address: 127.0.0.1}]\n", encoding="ascii")
    done = user("add", "alice", "-c", str(config))
    assert done.returncode == 1 and "names no users_file" in done.stderr and "users_file: /etc/" in done.stderr
    config.write_text(f"users: [{{name: alice, password: {HASH}}}]\nusers_file: {users}\nrun: {{pid_file: {folder}/pid}}\n",
                      encoding="ascii")
    config.chmod(0o600)
    assert "exists already" in user("add", "alice", "-c", str(config)).stderr
    assert "in users of the configuration" in user("del", "alice", "-c", str(config)).stderr
    done = user("add", "bob", "-c", str(config))
    assert done.returncode == 0 and "no running server found" in done.stdout and not done.stderr
    listed = json.loads(user("list", "--json", "-c", str(config)).stdout)
    assert [(each["name"], each["file"], each["usage"]) for each in listed] == [("alice", "users", None),
                                                                                ("bob", "users_file", None)]


def test_the_running_server_reads_it(net, serve, folder, users, lan):
    """A user can log in as soon as the command ends, and no longer once it is removed."""
    def user(*arguments, password="wonderland"):
        done = net.proxy.run(PROGRAM, "user", *arguments, "-c", str(proxy.config_path), input=password + "\n")
        assert done.returncode == 0, done.stderr
        return done.stdout

    users.write_text(f"bob:{HASH}\n", encoding="ascii")
    if OTHER_USERS:
        os.chown(users, 0, 65534)
    users.chmod(0o640)
    proxy = serve({"listen": WITH_LOGIN, "users_file": str(users), "admin": {"port": 1081},
                   "run": {"pid_file": str(folder / "pid")}})
    assert log_in(net.client, CLIENT_V4, lan) == REFUSED
    assert user("add", "alice").endswith(": reloaded\n")
    assert log_in(net.client, CLIENT_V4, lan) == RIGHT
    made = user("add", "carol", "--random", "--volume", "1GiB").splitlines()[0]
    assert len(made) == 20 and log_in(net.client, CLIENT_V4, lan, "carol", made) == RIGHT
    listed = {each["name"]: each for each in json.loads(user("list", "--json"))}
    assert listed["carol"]["volume"] == "1GiB" and listed["bob"]["usage"] is None
    assert "carol" in user("list")
    user("passwd", "alice", password="looking-glass")
    time.sleep(0.1)
    assert log_in(net.client, CLIENT_V4, lan, "alice", "looking-glass") == RIGHT
    user("del", "carol")
    assert log_in(net.client, CLIENT_V4, lan, "carol", made) == REFUSED
