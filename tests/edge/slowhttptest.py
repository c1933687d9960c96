"""The measuring part of tests/edge/slowhttptest: an app, a proxy before it, a good client, and slowhttptest.

Fails when a good client is refused, or when its p99 while the connections are held is more than twice that without the attack.
Where the app itself is slower at that moment, asked directly, that is the yardstick: then the machine is short of cores.
"""

import asyncio
import multiprocessing
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time

CONNECTIONS = 2000
# New ones a second. While they come, the last mode is a flood of downloads and not of slow reads: that time is measured apart.
RATE = 1000
MODES = {
    "slow heads": ["-H", "-i", "5", "-x", "24"],
    "slow bodies": ["-B", "-i", "5", "-x", "24", "-s", "8192"],
    "ranges": ["-R", "-a", "5", "-b", "2000"],
    "slow reads": ["-X", "-w", "10", "-y", "20", "-n", "5", "-z", "32", "-k", "3"],
}
# How many connections one address may have: all that it asks for, and the default.
CAPS = {"2,000 held": 100_000, "512 each": 512}
LARGE = b"x" * (256 * 1024)


async def app(reader, writer):
    """Answers at once; /large is 256 KiB. Reads bodies by their length."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
            if length:
                await reader.readexactly(int(length.group(1)))
            body = LARGE if b" /large" in head.split(b"\r\n", 1)[0] else b"hello"
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
            await writer.drain()
            if b"connection: close" in head.lower():
                return
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


def serve(pipe):
    async def run():
        server = await asyncio.start_server(app, "127.0.0.1", 0, backlog=4096)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


async def ask(port, source):
    """One request on a fresh connection; how long it took, or None if it was not answered."""
    began = time.perf_counter()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
        writer.write(b"GET /hello HTTP/1.1\r\nhost: app\r\nconnection: close\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
    except (ConnectionError, asyncio.TimeoutError):
        return None
    return time.perf_counter() - began if answer.startswith(b"HTTP/1.1 200") else None


async def both(port, source, upstream, seconds):
    """A good client of the proxy, and beside it one of the app, whose own slowness is not the proxy's."""
    (under, refused), (direct, _) = await asyncio.gather(
        good_client(port, source, seconds), good_client(upstream, "127.0.0.1", seconds)
    )
    return under, refused, direct


async def good_client(port, source, seconds):
    """A hundred requests a second, whatever the answers take."""
    tasks, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        tasks.append(asyncio.create_task(ask(port, source)))
        await asyncio.sleep(0.01)
    took = await asyncio.gather(*tasks)
    answered = sorted(one for one in took if one is not None)
    return answered, len(took) - len(answered)


def at(answered, share):
    return answered[min(int(len(answered) * share), len(answered) - 1)] * 1000 if answered else float("inf")


def resident(process):
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024


def settle(process):
    """Waits until the proxy has next to nothing to do: everything that can be sent has been sent, and the rest is held."""
    for _ in range(20):
        before = spent(process)
        time.sleep(0.5)
        if spent(process) - before < 0.05:
            return


def spent(process):
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def proxy(binary, folder, upstream, cap):
    config = f"""
        [migration]
        mode = "passthrough"
        [[listener]]
        bind = "127.0.0.1:0"
        [upstream]
        url = "http://127.0.0.1:{upstream}"
        [store]
        path = "{folder}/users.redb"
        [server]
        max_connections_per_ip = {cap}
        [admin]
        bind = "off"
        [log]
        format = "json"
        level = "warn,authferry=error,authferry::cli=info,authferry::app=info"
    """
    path = pathlib.Path(folder, "proxy.toml")
    path.write_text(config)
    process = subprocess.Popen([binary, "run", "--config", path], stderr=subprocess.PIPE, text=True)
    watchdog = threading.Timer(30, process.kill)
    watchdog.start()
    for line in process.stderr:
        if found := re.search(r'"address":"[^"]*?127\.0\.0\.1:(\d+)', line):
            port = int(found.group(1))
        if '"ready"' in line:
            watchdog.cancel()
            return process, port
    raise SystemExit("the proxy did not start")


def attack(port, mode, seconds):
    path = "/large" if mode == "slow reads" else "/"
    command = ["slowhttptest", "-c", str(CONNECTIONS), "-r", str(RATE), "-l", str(int(seconds)), "-p", "5", "-v", "1"]
    command += MODES[mode] + ["-u", f"http://127.0.0.1:{port}{path}"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def main(binary, seconds, modes):
    here, there = multiprocessing.Pipe()
    application = multiprocessing.Process(target=serve, args=(there,), daemon=True)
    application.start()
    upstream = here.recv()
    failed = False
    print(f"{'places':<11} {'mode':<12} {'idle p50':>9} {'p99':>9}  {'held p50':>9} {'p99':>9} {'ratio':>6}  {'connecting p99':>14}  {'app p99':>9}  refused  resident")
    for places, cap in CAPS.items():
        for mode in modes or MODES:
            with tempfile.TemporaryDirectory() as folder:
                process, port = proxy(binary, folder, upstream, cap)
                source = "127.0.0.1" if cap < CONNECTIONS else "127.0.0.2"
                asyncio.run(good_client(port, source, 1))
                idle, _, _ = asyncio.run(both(port, source, upstream, seconds))
                before = resident(process)
                ramp = CONNECTIONS / RATE + 1
                attacker = attack(port, mode, ramp + seconds)
                connecting, early, _ = asyncio.run(both(port, source, upstream, ramp))
                settle(process)
                held, refused, direct = asyncio.run(both(port, source, upstream, seconds))
                after = resident(process)
                attacker.communicate()
                process.terminate()
                process.communicate()
            ratio = at(held, 0.99) / at(idle, 0.99)
            yardstick = max(at(idle, 0.99), at(direct, 0.99), 2.5)
            # While the attack connects, an address that has all its places may be refused: here that is the good client's own.
            bad = refused > 0 or (early > 0 and cap >= CONNECTIONS) or at(held, 0.99) > 2 * yardstick
            refused += early
            failed |= bad
            print(
                f"{places:<11} {mode:<12} {at(idle, 0.5):>7.2f}ms {at(idle, 0.99):>7.2f}ms  {at(held, 0.5):>7.2f}ms "
                f"{at(held, 0.99):>7.2f}ms {ratio:>6.2f}  {at(connecting, 0.99):>12.2f}ms  {at(direct, 0.99):>7.2f}ms  "
                f"{refused:>7}  {before:.0f} -> {after:.0f} MiB{'  too slow' if bad else ''}",
                flush=True,
            )
    application.terminate()
    sys.exit(failed)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), sys.argv[3:])
