"""S3 as a notebook's session uses it: bucket.py put DIR BUCKET PREFIX, or list BUCKET PREFIX MD5SUMS.

`put` uploads every file below DIR as `session.upload_data` does. `list` proves that every record of
the manifest is there with the ETag that its bytes have. Endpoint and keys: AWS_* variables.
"""
import os
import sys

import boto3


def put(folder, bucket, prefix):
    client = boto3.client("s3")
    if bucket not in [each["Name"] for each in client.list_buckets()["Buckets"]]:
        client.create_bucket(Bucket=bucket)
    for where, _, names in os.walk(folder):
        for name in sorted(names):
            path = os.path.join(where, name)
            client.upload_file(path, bucket, f"{prefix}/{os.path.relpath(path, folder)}")


def check(bucket, prefix, manifest):
    wanted = {}
    with open(manifest) as lines:
        for line in lines:
            digest, name = line.rstrip("\n").split("  ", 1)
            wanted[f"{prefix}/{name}"] = digest
    found = {}
    for page in boto3.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix + "/"):
        for item in page.get("Contents", []):
            found[item["Key"]] = item["ETag"].strip('"')
    wrong = [key for key, digest in wanted.items() if found.get(key) != digest]
    if wrong:
        raise SystemExit(f"{len(wrong)} of {len(wanted)} records are not listed with their MD5 as ETag, such as "
                         f"{wrong[0]}: {found.get(wrong[0])}, not {wanted[wrong[0]]}")


if __name__ == "__main__":
    {"put": put, "list": check}[sys.argv[1]](*sys.argv[2:])
