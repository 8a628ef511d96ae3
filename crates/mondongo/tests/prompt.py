"""Uses the prompt as somebody at a terminal does: prompt.py PROGRAM ADDRESS HISTORY.

Several lines for one command, completion, a long answer through a pager, Ctrl-C, and the history of an earlier prompt.
"""
import os, pty, select, struct, sys, termios, time, fcntl

program, address, history = sys.argv[1:]
seen = ""


def open_prompt():
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(MONDONGO_HISTORY=history, TERM="xterm", PAGER="cat; echo paged")
        os.execv(program, [program, "cli", address])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    return pid, terminal


def expect(terminal, words):
    """Reads until `words` come; all before them is gone then."""
    global seen
    deadline = time.monotonic() + 20
    while words not in seen:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([terminal], [], [], left)[0]:
            sys.exit(f"waited in vain for {words!r}; seen:\n{seen}")
        try:
            seen += os.read(terminal, 4096).decode(errors="replace").replace("\r", "")
        except OSError:
            sys.exit(f"it ended before {words!r} came; seen:\n{seen}")
    seen = seen[seen.index(words) + len(words):]


def send(terminal, text):
    os.write(terminal, text.encode())


pid, terminal = open_prompt()
expect(terminal, "db > ")
send(terminal, "addcol towns name=str,size=int\r")
expect(terminal, "Col added.")
expect(terminal, "db > ")
send(terminal, 'add towns [\r{"name": "A", "size": 1},\r{"name": "B", "size": 2}]\r')
expect(terminal, "2 docs added")
expect(terminal, "db > ")
send(terminal, "search to\tsi\t2\r")
expect(terminal, "name: B")
expect(terminal, "db > ")
send(terminal, "set output table\r")
expect(terminal, "Set.")
expect(terminal, "db > ")
send(terminal, "search towns *\r")
expect(terminal, "  A        1")
expect(terminal, "(2 docs)")
expect(terminal, "db > ")
send(terminal, "help\r")
expect(terminal, "exit: close the current connection")
expect(terminal, "paged")
expect(terminal, "db > ")
send(terminal, "put half a li\x03")
expect(terminal, "db > ")
send(terminal, 'put open "and\r\r')
expect(terminal, "is not closed")
expect(terminal, "db > ")
send(terminal, "exit\r")
expect(terminal, "Bye")
os.waitpid(pid, 0)
mode = os.stat(history).st_mode & 0o777
if mode != 0o600:
    sys.exit(f"others can read the history: {mode:o}")

seen = ""
pid, terminal = open_prompt()
expect(terminal, "db > ")
send(terminal, "\x12search to\r")
expect(terminal, "name: B")
# Only the prompt itself takes Ctrl-D for its end.
expect(terminal, "db > ")
send(terminal, "\x04")
expect(terminal, "Bye")
os.waitpid(pid, 0)
