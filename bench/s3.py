"""The S3 endpoint beside nginx (reading) and dd (writing), on the same bytes and the same disk.

GET: curl and wrk fetch one file from Tarn by presigned URL and from nginx over a folder beside the
root, over loopback. PUT: curl sends a file to Tarn (it answers when the bytes are durable), dd
copies the same file and ends with fdatasync. Small PUTs are compared with files that as many threads
write and fsync. Needs nginx and wrk.
"""
import concurrent.futures
import os
import shutil
import subprocess
import sys
import time

from common import TOP, Report, arguments
from tarn_server import TarnServer, free_port

CONNECTIONS = 32
PRESIGN = """
import sys, boto3
client = boto3.client("s3", config=boto3.session.Config(signature_version="s3v4"))
try:
    client.create_bucket(Bucket="bench")
except client.exceptions.ClientError:
    pass
for operation, key in [line.split() for line in sys.stdin]:
    print(client.generate_presigned_url(operation, Params={"Bucket": "bench", "Key": key}, ExpiresIn=86400))
"""


def need(program):
    if not shutil.which(program):
        raise SystemExit(f"bench s3: needs {program}: apt-get install {'nginx-light' if program == 'nginx' else program}")


def presigned(server, wanted):
    sys.path.insert(0, str(TOP / "tools"))
    from run_tests import environment_python
    python = environment_python("s3")
    run = subprocess.run([str(TOP / "out" / "tarn"), "run", "--root", str(server.root), "--", str(python), "-c", PRESIGN],
                         input="\n".join(f"{o} {k}" for o, k in wanted), capture_output=True, text=True, check=True)
    return run.stdout.split()


def start_nginx(folder, files):
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(f"""
pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes auto; daemon off; user root;
events {{ worker_connections 1024; }}
http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; client_body_temp_path {folder}/body;
  open_file_cache max=1000; server {{ listen 127.0.0.1:{port}; root {files}; }} }}
""")
    process = subprocess.Popen(["nginx", "-c", str(config), "-p", str(folder)], stderr=subprocess.DEVNULL)
    for _ in range(100):
        if subprocess.run(["curl", "-s", "-o", "/dev/null", f"http://127.0.0.1:{port}/"]).returncode == 0:
            return process, f"http://127.0.0.1:{port}"
        time.sleep(0.05)
    raise SystemExit("bench s3: nginx does not answer")


def curl_rate(url, size, streams):
    """MB/s of `streams` fetches of one URL at once."""
    started = time.monotonic()
    running = [subprocess.Popen(["curl", "-sS", "--fail", "-o", "/dev/null", url]) for _ in range(streams)]
    if any(process.wait() for process in running):
        raise SystemExit(f"curl could not fetch {url}")
    return size * streams / (time.monotonic() - started) / 1e6


def wrk_rate(url, seconds):
    run = subprocess.run(["wrk", "-t2", f"-c{CONNECTIONS}", f"-d{seconds}s", url], capture_output=True, text=True, check=True)
    if "Non-2xx" in run.stdout or "Socket errors" in run.stdout:
        raise SystemExit(run.stdout)
    return float(next(line.split()[1] for line in run.stdout.splitlines() if line.startswith("Requests/sec")))


def wrk_put_rate(urls, seconds, folder):
    """Requests a second of 4 KiB PUTs; each thread of wrk goes round over keys of its own."""
    paths = ["/" + url.split("/", 3)[3] for url in urls]
    host = urls[0].split("/", 3)[2]
    script = folder / "put.lua"
    listed = ",\n".join(f'"{p}"' for p in paths)
    script.write_text(f"""local paths = {{ {listed} }}
local counter, thread = 0, 0
function setup(t) t:set("id", thread); thread = thread + 1 end
function request()
  counter = counter + 1
  local n = #paths / 2
  return wrk.format("PUT", paths[id * n + counter % n + 1], {{["Content-Type"]="binary/octet-stream"}}, string.rep("x", 4096))
end
""")
    run = subprocess.run(["wrk", "-t2", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(script), f"http://{host}"],
                         capture_output=True, text=True, check=True)
    if "Non-2xx" in run.stdout:
        raise SystemExit(run.stdout)
    return float(next(line.split()[1] for line in run.stdout.splitlines() if line.startswith("Requests/sec")))


def file_write_rate(folder, seconds):
    """Files of 4 KiB a second that threads write to a new name, fsync and rename, as a careful program does."""
    end = time.monotonic() + seconds

    def work(number):
        done = 0
        while time.monotonic() < end:
            path = folder / f"w{number}"
            descriptor = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.write(descriptor, b"x" * 4096)
            os.fsync(descriptor)
            os.close(descriptor)
            os.rename(f"{path}.new", path)
            done += 1
        return done

    with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as pool:
        return sum(pool.map(work, range(CONNECTIONS))) / seconds


def main():
    options = arguments(__doc__)
    for program in ["nginx", "wrk", "curl"]:
        need(program)
    size = (64 << 20) if options.quick else (1 << 30)
    seconds = 1 if options.quick else 5
    report = Report("s3", options)
    base = options.on / "s3.run"
    shutil.rmtree(base, ignore_errors=True)
    (base / "files").mkdir(parents=True)
    nginx = None
    try:
        with TarnServer(base / "tarn", mount=False, listen=True) as server:
            large, small = base / "files" / "large", base / "files" / "small"
            with open(large, "wb") as f:
                for _ in range(size >> 20):
                    f.write(os.urandom(1 << 20))
            small.write_bytes(os.urandom(4096))
            keys = [("put_object", "large"), ("get_object", "large"), ("put_object", "small"), ("get_object", "small")]
            keys += [("put_object", f"s/{i}") for i in range(512)]
            urls = presigned(server, keys)
            put_large, get_large, put_small, get_small = urls[:4]
            for file, url in [(large, put_large), (small, put_small)]:
                subprocess.run(["curl", "-sS", "--fail", "-T", str(file), url], check=True)
            nginx, origin = start_nginx(base, base / "files")
            report.head("Tarn's endpoint", "nginx (GET), dd and fsync (PUT)")

            theirs = {get_large: f"{origin}/large", get_small: f"{origin}/small"}
            for streams in (1, 8):
                report.pair(f"get_large_{streams}_streams", "MB/s", lambda url: curl_rate(url, size, streams),
                            get_large, theirs[get_large])
            report.pair("get_4k_32_connections", "requests/s", lambda url: wrk_rate(url, seconds), get_small, theirs[get_small])

            def put_rate(place):
                started = time.monotonic()
                if place == "tarn":
                    command = ["curl", "-sS", "--fail", "-T", str(large), put_large]
                else:
                    command = ["dd", f"if={large}", f"of={base}/copy", "bs=1M", "conv=fdatasync", "status=none"]
                subprocess.run(command, check=True)
                return size / (time.monotonic() - started) / 1e6

            report.pair("put_large", "MB/s", put_rate, "tarn", "dd", pairs=min(options.pairs, 5))
            report.pair("put_4k_32_connections", "requests/s",
                        lambda place: wrk_put_rate(urls[4:], seconds, base) if place == "tarn" else file_write_rate(base, seconds),
                        "tarn", "files", pairs=min(options.pairs, 5))
            report.add("resident_mb", "MB", server.resident_bytes() / 1e6)
    finally:
        if nginx is not None:
            nginx.terminate()
            nginx.wait()
        shutil.rmtree(base, ignore_errors=True)
    report.write()


if __name__ == "__main__":
    main()
