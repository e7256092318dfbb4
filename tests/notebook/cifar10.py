"""The steps of the public CIFAR-10 notebook as a script: upload, preview, fit.

Run it under `eval $(tarn env)`: nothing here names an endpoint, a key, a bucket or a role.

    python cifar10.py DATA_DIRECTORY [JOB_NAME]

DATA_DIRECTORY holds cifar-10-batches-py. The last line is JSON: job, status, where the model is.
"""
import json
import pathlib
import pickle
import random
import sys

import numpy
import sagemaker
from sagemaker.pytorch import PyTorch

HERE = pathlib.Path(__file__).resolve().parent


def preview(folder, images=4):
    """One random batch: labels by name, and the images' shape."""
    with open(folder / "data_batch_1", "rb") as file:
        batch = pickle.load(file, encoding="bytes")
    with open(folder / "batches.meta", "rb") as file:
        names = pickle.load(file, encoding="bytes")[b"label_names"]
    chosen = random.sample(range(len(batch[b"labels"])), images)
    pixels = numpy.frombuffer(batch[b"data"], numpy.uint8).reshape(-1, 3, 32, 32)[chosen]
    print(pixels.shape, [names[batch[b"labels"][i]].decode() for i in chosen])


def main(data, name):
    session = sagemaker.Session()
    inputs = session.upload_data(path=str(data), bucket=session.default_bucket(), key_prefix="data/cifar10")
    preview(data / "cifar-10-batches-py")
    # The role comes from the SDK's configuration file, which the environment names.
    estimator = PyTorch(entry_point="train.py", source_dir=str(HERE / "source"),
                        framework_version="2.1", py_version="py310", instance_count=1,
                        instance_type="ml.c5.xlarge", sagemaker_session=session,
                        hyperparameters={"epochs": 1, "batch-size": 64})
    estimator.fit({"train": inputs}, job_name=name)
    job = estimator.latest_training_job.describe()
    print(json.dumps({"job": job["TrainingJobName"], "status": job["TrainingJobStatus"],
                      "model": estimator.model_data}))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)
