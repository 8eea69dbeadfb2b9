"""The released command line: the README's example, every bad value, fewer images said."""

import importlib
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from qmlbook import data
from qmlbook.papers.klssl import __main__ as command
from qmlbook.papers.klssl import training

EXAMPLE = (
    "--device cpu --seed 42 --classifier classical --nlayers 3 --gamma 0.7 "
    "--data FashionMNIST --c1 0 --c2 1"
)


def call(words):
    return command.main(words.split())


@pytest.fixture
def embedded(monkeypatch, tmp_path):
    """Only the embedded images."""
    monkeypatch.delenv("QMLBOOK_DATA", raising=False)
    monkeypatch.setenv("QMLBOOK_CACHE", str(tmp_path))
    monkeypatch.setenv("QMLBOOK_DATA_URL", "http://127.0.0.1:9")


@pytest.mark.usefixtures("embedded")
@pytest.mark.nightly
def test_the_readme_example_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "qmlbook.papers.klssl", *EXAMPLE.split()],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "classical classifier, n = 3, seed 42, 122 parameters, 10 of them trained" in done.stdout
    assert "trained on 2400 FashionMNIST images, train split (fewer than there are" in done.stdout
    assert "evaluated on 600 FashionMNIST images, test split" in done.stdout
    assert "accuracy, k = 10:" in done.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--gamma 0", "gamma must lie strictly between 0 and 1, not 0.0."),
        ("--gamma 1.5", "gamma must lie strictly between 0 and 1, not 1.5."),
        ("--gamma nan", "gamma must lie strictly between 0 and 1, not nan."),
        ("--c1 10", "c1 must be a label from 0 to 9, not 10."),
        ("--c2 -1", "c2 must be a label from 0 to 9, not -1."),
        ("--c1 3 --c2 3", "c2 must differ from c1; both are 3."),
        ("--nlayers 0", "nlayers must be 1 or more, not 0."),
        ("--nlayers two", "argument --nlayers: invalid int value: 'two'"),
        ("--seed -1", "seed must be 0 or more, not -1."),
        ("--data CIFAR10", "argument --data: invalid choice: 'CIFAR10'"),
        ("--classifier both", "argument --classifier: invalid choice: 'both'"),
        ("--split none", "argument --split: invalid choice: 'none'"),
        ("--loss other", "argument --loss: invalid choice: 'other'"),
        ("--device cuda:0", "device cuda:0 is not here: PyTorch finds no CUDA device"),
        ("--device cuda", "leave --device out to run on the CPU."),
        ("--device tpu", "argument --device: invalid choice: 'tpu'"),
        ("--colour red", "unrecognized arguments: --colour red"),
    ],
)
def test_every_bad_value_is_one_sentence_and_status_2(words, sentence, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert call(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Error: ")
    assert sentence in err
    assert len(err.splitlines()) == 1


@pytest.mark.usefixtures("embedded")
def test_split_and_loss_choose_the_roles_and_the_procedure(capsys):
    assert call("--split executed --loss corrected --seed 1 --nlayers 3") == 0
    out = capsys.readouterr().out
    assert "trained on 1000 MNIST images, test split" in out
    assert "evaluated on 2000 MNIST images, train split" in out
    assert "58 parameters" not in out
    assert "of them trained" not in out  # the corrected procedure trains all


@pytest.mark.usefixtures("embedded")
def test_other_pairs_are_remapped(capsys):
    assert call("--c1 3 --c2 8 --loss corrected --seed 0") == 0
    matched = next(line for line in capsys.readouterr().out.splitlines() if "assigned" in line)
    assert float(matched.split()[-1]) > 0.5


@pytest.mark.usefixtures("embedded")
def test_a_missing_set_is_one_sentence_and_status_1(capsys):
    assert command.main(["--data", "KMNIST"]) == 1
    err = capsys.readouterr().err
    assert "KMNIST" in err
    assert len(err.splitlines()) == 1


def test_a_seed_that_is_not_given_is_said(capsys, embedded):
    assert command.main(["--loss", "corrected"]) == 0
    assert "seed " in capsys.readouterr().out


def test_whole_sets_are_used_where_they_are(monkeypatch):
    (found,) = data.status(["mnist"])
    whole = type(found)(**{**vars(found), "whole": True})
    monkeypatch.setattr(data, "status", lambda names: [whole])
    config = command.configure(command.parse([]))
    assert (config.n_train, config.n_eval) == (None, None)


@pytest.mark.parametrize("paper", ["c2q", "klssl", "qssl"])
def test_the_commands_of_papers_have_help_and_refuse_what_they_do_not_know(paper, capsys):
    main = importlib.import_module(f"qmlbook.papers.{paper}.__main__").main
    assert main(["--help"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"usage: python -m qmlbook.papers.{paper} ")
    assert err == ""
    if paper == "klssl":
        for option in ("device", "seed", "classifier", "nlayers", "gamma", "data", "c1", "c2"):
            assert f"--{option}" in out
    assert main(["--nosuch"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "--nosuch" in err or "required" in err or "invalid choice" in err


@pytest.mark.usefixtures("embedded")
@pytest.mark.parametrize(
    "words", ["", "--loss corrected", "--classifier classical", "--nlayers 3 --loss corrected"]
)
def test_training_computes_where_its_images_are(words, monkeypatch):
    config = replace(command.configure(command.parse(words.split())), epochs=1)
    split = command.moved(training.splits(config)[0], "meta")  # a device that computes no numbers
    for read, value in (("item", 1.0), ("__float__", 1.0), ("__bool__", True)):
        monkeypatch.setattr(torch.Tensor, read, lambda tensor, value=value: value)
    model = training.train(config, 0, split).model
    assert {value.device.type for value in model.state_dict().values()} == {"meta"}
    assert training.predict(model, next(iter(vars(split).values()))).device.type == "meta"
