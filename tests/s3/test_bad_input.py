"""Bad input ends in a clear message: signatures, clocks, keys, XML, bucket names, options of serve."""
import datetime
import http.client
import socket
import subprocess

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from conftest import error_of, make_client
from tarn_server import TARN, TarnServer, free_port


def raw(server, method, path, body=b"", headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    return response.status, response.read().decode(), response


def signed(server, environment, method, path, body=b"", headers=None):
    credentials = Credentials(environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"])
    request = AWSRequest(method, f"http://127.0.0.1:{server.port}{path}", data=body, headers=headers or {})
    S3SigV4Auth(credentials, "s3", "us-west-2").add_auth(request)
    return raw(server, method, path, body, dict(request.headers))


def test_wrong_secret_and_unknown_key(environment, s3):
    wrong = make_client({**environment, "AWS_SECRET_ACCESS_KEY": "x" * 40})
    assert error_of(wrong.list_buckets) == (403, "SignatureDoesNotMatch")
    unknown = make_client({**environment, "AWS_ACCESS_KEY_ID": "TARNUNKNOWN"})
    assert error_of(unknown.list_buckets) == (403, "InvalidAccessKeyId")


def test_unsigned_and_nonsense_signatures(server):
    status, text, response = raw(server, "GET", "/")
    assert status == 403 and "<Code>AccessDenied</Code>" in text and "tarn env" in text
    request_id = response.getheader("x-amz-request-id")
    assert request_id and f"<RequestId>{request_id}</RequestId>" in text
    status, text, _ = raw(server, "GET", "/", headers={"Authorization": "AWS k:v"})
    assert status == 400 and "version 2" in text
    status, text, _ = raw(server, "GET", "/", headers={"Authorization": "AWS4-HMAC-SHA256 nonsense"})
    assert status == 400 and "AuthorizationHeaderMalformed" in text


def test_clock_skew(environment, monkeypatch):
    import botocore.auth
    client = make_client(environment)
    off = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(minutes=16)
    name = "get_current_datetime" if hasattr(botocore.auth, "get_current_datetime") else None
    if name is None:
        pytest.skip("this botocore keeps its clock elsewhere")
    monkeypatch.setattr(botocore.auth, name, lambda *a, **k: off.replace(tzinfo=None))
    assert error_of(client.list_buckets) == (403, "RequestTimeTooSkewed")


def test_malformed_xml(server, environment, bucket):
    for body in [b"<Delete><Object>", b"", b"nonsense", b"<Other/>"]:
        status, text, _ = signed(server, environment, "POST", f"/{bucket}?delete=", body)
        assert status == 400 and "<Code>MalformedXML</Code>" in text, (body, text)
    status, text, _ = signed(server, environment, "PUT", f"/{bucket}", b"<x>")
    assert status == 400 and "<Code>MalformedXML</Code>" in text


@pytest.mark.parametrize("name", ["ab", "A-Bucket", "has_underscore", "-begins", "ends-", "two..dots", "192.168.1.1", "xn--a", "x" * 64])
def test_bucket_names(server, environment, name):
    status, text, _ = signed(server, environment, "PUT", f"/{name}")
    assert status == 400 and "<Code>InvalidBucketName</Code>" in text, text


def test_virtual_host_style_is_refused_with_the_remedy(server, environment):
    credentials = Credentials(environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"])
    request = AWSRequest("GET", "http://bucket.localhost/", headers={"Host": "bucket.localhost"})
    S3SigV4Auth(credentials, "s3", "us-west-2").add_auth(request)
    status, text, _ = raw(server, "GET", "/", headers=dict(request.headers))
    assert status == 400 and "addressing_style" in text


def test_body_that_stops_leaves_nothing(server, environment, s3, bucket, folder):
    s3.put_object(Bucket=bucket, Key="k", Body=b"old")
    credentials = Credentials(environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"])
    body = b"n" * 1_000_000
    request = AWSRequest("PUT", f"http://127.0.0.1:{server.port}/{bucket}/k", data=body)
    S3SigV4Auth(credentials, "s3", "us-west-2").add_auth(request)
    head = f"PUT /{bucket}/k HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Length: {len(body)}\r\n"
    head += "".join(f"{k}: {v}\r\n" for k, v in request.headers.items() if k not in ("Host", "Content-Length")) + "\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as peer:
        peer.sendall(head.encode() + body[:500_000])
        peer.shutdown(socket.SHUT_WR)
        assert b"IncompleteBody" in peer.recv(65536)
    assert (folder / "k").read_bytes() == b"old"
    # The whole length, other bytes.
    with socket.create_connection(("127.0.0.1", server.port)) as peer:
        peer.sendall(head.encode() + b"x" * 1_000_000)
        assert b"XAmzContentSHA256Mismatch" in peer.recv(65536)
    assert (folder / "k").read_bytes() == b"old"


def test_admin_needs_no_key(server, s3):
    s3.list_buckets()
    assert raw(server, "GET", "/_tarn/health")[:2] == (200, "ok\n")
    text = raw(server, "GET", "/_tarn/metrics")[1]
    assert 'tarn_http_requests_total{service="s3",status="2xx"}' in text and "tarn_kv_transactions_total" in text


def test_port_in_use_names_the_holder(scratch):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        run = subprocess.run([str(TARN), "serve", str(scratch / "busy"), "--listen", f"127.0.0.1:{holder.getsockname()[1]}"],
                             capture_output=True, text=True, timeout=60)
    assert run.returncode == 1 and "in use by" in run.stderr and "pid" in run.stderr, run.stderr


def test_other_addresses_need_tls_or_insecure(scratch):
    run = subprocess.run([str(TARN), "serve", str(scratch / "open"), "--listen", "0.0.0.0:8333"],
                         capture_output=True, text=True, timeout=60)
    assert run.returncode == 2 and "--tls" in run.stderr and "--insecure" in run.stderr


def test_env_without_a_server(scratch):
    server = TarnServer(scratch / "idle", mount=False)
    server.init()
    run = server.command("env", check=False)
    assert run.returncode == 3 and not run.stdout


def test_tls(scratch):
    from conftest import environment_of
    with TarnServer(scratch / "tls", mount=False, arguments=["--tls", f"127.0.0.1:{free_port()}"]) as server:
        environment = environment_of(server)
        assert environment["AWS_ENDPOINT_URL"].startswith("https://")
        client = make_client(environment)
        client.create_bucket(Bucket="over-tls", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
        data = b"y" * 3_000_000
        # Over TLS boto3 sends chunks with a trailer and no payload hash.
        client.put_object(Bucket="over-tls", Key="k", Body=data)
        assert client.get_object(Bucket="over-tls", Key="k")["Body"].read() == data
