"""Proves by LIST that a bucket holds every record: listing.py BUCKET PREFIX MD5SUMS.

Every file of the manifest must be listed below PREFIX with its MD5 as ETag. The same as
`bucket.py list` with nothing but Python's own library, which starts in a tenth of boto3's time.
Endpoint and keys: AWS_* variables.
"""
import datetime
import hashlib
import hmac
import http.client
import os
import re
import sys
from urllib.parse import quote, urlsplit

PAGE = re.compile(r"<Contents>(.*?)</Contents>", re.S)
EMPTY = hashlib.sha256(b"").hexdigest()


def tag(name, text):
    found = re.search(f"<{name}>(.*?)</{name}>", text, re.S)
    return found and found[1].replace("&quot;", '"').replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def signed(host, path, query):
    """Headers of a GET by AWS Signature Version 4."""
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    region, names = os.environ["AWS_DEFAULT_REGION"], "host;x-amz-content-sha256;x-amz-date"
    request = f"GET\n{path}\n{query}\nhost:{host}\nx-amz-content-sha256:{EMPTY}\nx-amz-date:{now}\n\n{names}\n{EMPTY}"
    scope = f"{now[:8]}/{region}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = b"AWS4" + os.environ["AWS_SECRET_ACCESS_KEY"].encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    return {"Host": host, "x-amz-content-sha256": EMPTY, "x-amz-date": now, "Authorization":
            f"AWS4-HMAC-SHA256 Credential={os.environ['AWS_ACCESS_KEY_ID']}/{scope}, SignedHeaders={names}, "
            f"Signature={signature}"}


def listed(bucket, prefix):
    """key -> ETag of everything below the prefix."""
    host = urlsplit(os.environ["AWS_ENDPOINT_URL"]).netloc
    connection, found, token = http.client.HTTPConnection(host, timeout=60), {}, None
    while True:
        words = {"list-type": "2", "prefix": prefix, **({"continuation-token": token} if token else {})}
        query = "&".join(f"{name}={quote(words[name], safe='')}" for name in sorted(words))
        path = "/" + quote(bucket)
        connection.request("GET", f"{path}?{query}", headers=signed(host, path, query))
        answer = connection.getresponse()
        text = answer.read().decode()
        if answer.status != 200:
            raise SystemExit(f"LIST of {bucket}: {answer.status}: {text}")
        for item in PAGE.findall(text):
            found[tag("Key", item)] = tag("ETag", item).strip('"')
        token = tag("NextContinuationToken", text)
        if not token:
            return found


def main(bucket, prefix, manifest):
    found = listed(bucket, prefix + "/")
    with open(manifest) as lines:
        wanted = {f"{prefix}/{line[34:-1]}": line[:32] for line in lines}
    wrong = [key for key, digest in wanted.items() if found.get(key) != digest]
    if wrong or not wanted:
        raise SystemExit(f"{len(wrong)} of {len(wanted)} records are not listed with their MD5 as ETag" +
                         (f", such as {wrong[0]}: {found.get(wrong[0])}, not {wanted[wrong[0]]}" if wrong else ""))


if __name__ == "__main__":
    main(*sys.argv[1:])
