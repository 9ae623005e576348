"""TensorBoard's event files, read back by the format's description: TFRecord frames around protobuf messages."""
import csv
import json
import struct

import pytest

from helpers import checkpoints, succeeds, train_arguments

EPOCHS, STEPS = 2, 8


# ---- A reader -------------------------------------------------------------------------------

def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def frames(data):
    while data:
        (length,), (head,) = struct.unpack("<Q", data[:8]), struct.unpack("<I", data[8:12])
        body, (tail,) = data[12:12 + length], struct.unpack("<I", data[12 + length:16 + length])
        assert len(body) == length and head == masked(data[:8]) and tail == masked(body)
        yield body
        data = data[16 + length:]


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def fields(data):
    """{number: [values]} of a message; blocks stay bytes."""
    found, at = {}, 0
    while at < len(data):
        key, at = varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = varint(data, at)
        elif wire == 1:
            (value,), at = struct.unpack("<d", data[at:at + 8]), at + 8
        elif wire == 5:
            (value,), at = struct.unpack("<f", data[at:at + 4]), at + 4
        else:
            assert wire == 2
            length, at = varint(data, at)
            value, at = data[at:at + length], at + length
            assert len(value) == length
        found.setdefault(number, []).append(value)
    return found


def read_events(path):
    """[(step, {tag: value}, start)] of a file; `start`: the record says that a run begins there."""
    events = []
    for body in frames(path.read_bytes()):
        event = fields(body)
        assert 1.6e9 < event[1][0] < 1e11  # a time
        scalars = {}
        for value in fields(event[5][0])[1] if 5 in event else []:
            value = fields(value)
            scalars[value[1][0].decode()] = value[2][0]
        events.append((event[2][0], scalars, 7 in event and fields(event[7][0])[1] == [1], event.get(3)))
    assert events[0][3] == [b"brain.Event:2"]
    return [event[:3] for event in events[1:]]


def event_files(out):
    return sorted(out.glob("events.out.tfevents.*"))


# ---- Tests ----------------------------------------------------------------------------------

def test_checksum_of_the_reader():
    assert crc32c(b"123456789") == 0xE3069283


def test_no_file_unless_asked(trained):
    assert not event_files(trained.out)


def test_events_are_the_log(data, tmp_path):
    succeeds(*train_arguments(data, tmp_path, epochs=EPOCHS, tensorboard=True))
    (path,) = event_files(tmp_path)
    events = read_events(path)
    assert events[0] == (1, {}, True)
    with open(tmp_path / "log.jsonl") as file:
        records = [json.loads(line) for line in file]
    assert len(events) == 1 + len(records) == 1 + EPOCHS * STEPS + EPOCHS
    for (step, scalars, start), record in zip(events[1:], records):
        kind = record.pop("kind")
        epoch = record.pop("epoch")
        assert step == record.pop("step", STEPS * epoch) and not start
        assert scalars == {f"{kind}/{name}": pytest.approx(value, rel=1e-6) for name, value in record.items()}


def test_a_resumed_run_goes_on_in_a_file_of_its_own(data, tmp_path):
    succeeds(*train_arguments(data, tmp_path, epochs=EPOCHS, tensorboard=True, max_steps=11))
    succeeds(*train_arguments(data, tmp_path, epochs=EPOCHS, tensorboard=True, max_steps=0, resume=checkpoints(tmp_path)[-1]))
    first, second = map(read_events, event_files(tmp_path))
    assert first[-1][0] == 11 and second[0] == (12, {}, True)
    steps = [step for step, scalars, _ in first + second if "step/loss" in scalars]
    assert steps == list(range(1, EPOCHS * STEPS + 1))
    # The test in the middle of an epoch is none of an epoch, and stands in the log only until the run goes on.
    assert [step for step, scalars, _ in first + second if "epoch/val_loss" in scalars] == [STEPS, EPOCHS * STEPS]


def test_time_is_split(trained):
    """The wait for data is part of the time; of steps and of epochs."""
    with open(trained.out / "log.jsonl") as file:
        records = [json.loads(line) for line in file]
    for record in records:
        assert 0 <= record["wait_seconds"] <= record["seconds"]
    with open(trained.out / "log.csv", newline="") as file:
        assert all(0 <= float(row["wait_seconds"]) <= float(row["seconds"]) for row in csv.DictReader(file))
    steps = [record for record in records if record["kind"] == "step" and record["epoch"] == 2]
    assert all(a["seconds"] <= b["seconds"] and a["wait_seconds"] <= b["wait_seconds"] for a, b in zip(steps, steps[1:]))
    assert steps[-1]["seconds"] <= next(r for r in records if r["kind"] == "epoch" and r["epoch"] == 2)["seconds"]
