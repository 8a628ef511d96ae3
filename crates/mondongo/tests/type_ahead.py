"""Types several lines into the prompt at once, as a paste does: type_ahead.py PROGRAM ADDRESS."""
import os, pty, sys, time

program, address = sys.argv[1:]
pid, terminal = pty.fork()
if pid == 0:
    os.environ["MONDONGO_HISTORY"] = ""
    os.environ["TERM"] = "xterm"
    os.execv(program, [program, "cli", address])
os.write(terminal, b"put pasted one\rput other two\rget pasted\rget other\rexit\r")
seen = b""
deadline = time.monotonic() + 20
while b"Bye" not in seen and time.monotonic() < deadline:
    try:
        seen += os.read(terminal, 4096)
    except OSError:
        break
os.waitpid(pid, 0)
text = seen.decode(errors="replace").replace("\r", "")
sys.exit(0 if "\none\n" in text and "\ntwo\n" in text and "Bye" in text else f"the prompt showed:\n{text}")
