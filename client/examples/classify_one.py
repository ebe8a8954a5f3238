"""Classify an image file with your server, and print its labels.

export IMAGE_API_URL=http://127.0.0.1:3000 IMAGE_API_KEY=imc_...
python client/examples/classify_one.py photo.jpg
"""

import sys

from classifier_client import ClassifierError, Client


def main(path: str) -> str | None:
    """Print the labels of the image; return the error if there is one."""
    try:
        with Client() as client:
            result = client.classify(path)
    except (ClassifierError, OSError) as error:
        return f"classify_one: {error}"
    for prediction in result.predictions:
        print(f"{prediction.confidence:6.1%}  {prediction.label}")
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
