"""Opens whatever a user calls a checkpoint: one of ours, or plain weights with a model spec."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from mascli.config import ModelOptions
from mascli.errors import CheckpointError, NumericsError, UnsupportedModelError, UsageError, listed, printable
from mascli.files.checkpoint_file import read_checkpoint, write_checkpoint
from mascli.files.records_json import checkpoint_record, foreign_metadata
from mascli.files.state_dict import read_state_dict
from mascli.files.tensor_file import Header, file_sha256, read_header
from mascli.files.tensors import shared_sha256, to_source
from mascli.models.classifier import classifier_outputs, find_classifier, probe
from mascli.models.heads import MultiHeadModel
from mascli.models.spec import parse_model_spec
from mascli.models.zoo import build_network, usual_preprocessing
from mascli.observer import Observer
from mascli.records import CheckpointRecord, ModelSpec, Preprocessing, Step, Task, head_tensor
from mascli.reports.numbers import plural
from mascli.workflows.estimating.settled import class_lines, settled_preprocessing


@dataclass
class Opened:
    """A model ready to run, and what its file says about it."""

    model: MultiHeadModel
    spec: ModelSpec
    preprocessing: Preprocessing
    tasks: tuple[Task, ...]
    lineage: tuple[Step, ...]
    file_sha256: str | None
    foreign: Mapping[str, str]

    @property
    def task_names(self) -> tuple[str, ...]:
        """The names of the tasks in the order learned."""
        return tuple(task.name for task in self.tasks)

    @property
    def ancestry(self) -> frozenset[str]:
        """Hashes of the shared parameters of this checkpoint and of all it came from."""
        return frozenset(step.shared_sha256 for step in self.lineage)

    @property
    def heads_sha256(self) -> dict[str, str]:
        """The hash of every head as it is now, by the task that it was made for."""
        own = [task.name for task in self.tasks if task.head is None]
        return {task: shared_sha256(self.model.head_parameters([task])) for task in own}

    def measured_heads(self, names: Iterable[str]) -> dict[str, str]:
        """The hash of each head of which there are tensors among `names`, by the task that it was made for."""
        measured = set(names)
        return {task: self.heads_sha256[task] for task, table in self.head_shapes().items() if measured & table.keys()}

    @property
    def known_heads(self) -> frozenset[str]:
        """Hashes of all heads as they are now, and as every step found those that several tasks use."""
        return frozenset((*self.heads_sha256.values(), *(one for step in self.lineage for one in step.heads_before)))

    def own_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor of the network that each task has of its own."""
        network = self.model.network.state_dict()
        return {name: tuple(network[name].shape) for name in self.model.own.names}

    def head_shapes(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """The shape of every tensor of a head, by the task that the head was made for and the name in files."""
        own = [task.name for task in self.tasks if task.head is None]
        return {task: {name: tuple(p.shape) for name, p in self.model.head_parameters([task]).items()} for task in own}


def open_checkpoint(path: Path, options: ModelOptions, device: torch.device, observer: Observer) -> Opened:
    """Build the model of the checkpoint at `path` and load its weights.

    Raises:
        CheckpointError: a damaged file, or weights that are not those of the model.
        UsageError: a plain file without `--model`, or flags that contradict the file.
        UnsupportedModelError: a model that cannot be built or wrapped.
    """
    header = read_header(path)
    record = checkpoint_record(header)
    if record is None:
        return _open_plain(path, options, device, observer)
    preprocessing = settled_preprocessing(record, options)
    imported = next((task for task in record.tasks if task.imported), None)
    network = build_network(record.model, preprocessing, classes=len(imported.classes) if imported else None)
    model = MultiHeadModel(network.float(), record.model.classifier, example_image(preprocessing))
    for task in record.tasks:
        if task.head is not None:
            model.use_head(task.name, of=task.head)
        elif task.imported:
            model.import_head(task.name)
        else:
            model.add_head(task.name, len(task.classes))
    _check_fit(path, model, record, header)
    model.load(*read_checkpoint(header, record))
    if current_shared_sha256(model) != record.shared_sha256:
        raise CheckpointError(
            f"{printable(path)} does not hold the weights that it was written with: it is damaged, or another tool "
            "has changed it; go back to a file that mascli wrote"
        )
    _check_finite(path, model)
    observer.step(_described(record.model, model, device))
    return Opened(
        model.to(device).eval(),
        record.model,
        preprocessing,
        record.tasks,
        record.lineage,
        file_sha256(path),
        foreign_metadata(header),
    )


def separate_batchnorm(opened: Opened, observer: Observer) -> None:
    """From now on each task has its own batch norms: running statistics, scale and shift.

    To be called before a penalty or a hash is made of what is shared; the task that is added next
    starts from the newest one's.
    """
    if not opened.model.own_normalisation():
        observer.note("--batchnorm per-task: the network has no layer that keeps running statistics, and shares all")


def start_checkpoint(options: ModelOptions, weights: Path | None, device: torch.device, observer: Observer) -> Opened:
    """Build the model that `options` name, with random weights or with those of the file `weights`.

    With weights, the network's own classifier becomes the head of a task; without, there are no
    tasks yet.
    """
    if options.model is None:
        raise UsageError("--model is missing: name the architecture, as in --model torchvision:resnet18")
    spec = parse_model_spec(options.model, options.model_arg)
    preprocessing = usual_preprocessing(
        spec,
        image_size=options.image_size,
        resize=options.resize,
        mean=options.mean,
        std=options.std,
        channels=options.channels,
    )
    network = build_network(spec, preprocessing).float()
    example = example_image(preprocessing)
    classifier = options.classifier or find_classifier(network, example)
    tasks: tuple[Task, ...] = ()
    if weights is not None:
        state, notes = read_state_dict(weights)
        for note in notes:
            observer.note(note)
        network = _with_weights(network, spec, preprocessing, classifier, state, weights)
    model = MultiHeadModel(network, classifier, example)
    if not model.shared_parameters():
        raise UnsupportedModelError(f"{spec} has no parameters but its classifier's: there is nothing that tasks share")
    foreign: dict[str, str] = {}
    if weights is not None:
        head = model.import_head(options.head_name)
        tasks = (Task(options.head_name, _class_names(options, classifier_outputs(head)), imported=True),)
        foreign = _foreign_metadata(weights)
        _check_finite(weights, model)
        if spec.name in ("googlenet", "inception_v3") and "transform_input" not in spec.arguments:
            observer.note(f"for torchvision's published weights of {spec.name}, add --model-arg transform_input=true")
    else:
        model.add_head("trial", 2)  # tells before training that the network can process its images
        probe(model, example, ("trial",))
        del model.task_heads.heads["task-trial"]
        _check_finite(Path(str(spec)), model)
    observer.step(_described(spec, model, device))
    return Opened(
        model.to(device).eval(), replace(spec, classifier=classifier), preprocessing, tasks, (), None, foreign
    )


def _described(spec: ModelSpec, model: MultiHeadModel, device: torch.device) -> str:
    """What was built, from where, and what runs it."""
    shared = sum(parameter.numel() for parameter in model.shared_parameters().values())
    source = getattr(sys.modules.get(type(model.network).__module__), "__file__", None)
    where = f" ({type(model.network).__name__} in {printable(source)})" if source else ""
    threads = f" with {plural(torch.get_num_threads(), 'thread')}" if device.type == "cpu" else ""
    tasks = f"tasks: {listed(model.tasks, 20)}" if model.tasks else "no task yet"
    return f"model {spec}{where}: {plural(shared, 'shared parameter')}, {tasks}, on {device}{threads}"


def _foreign_metadata(weights: Path) -> dict[str, str]:
    try:
        return foreign_metadata(read_header(weights))
    except CheckpointError:  # a PyTorch file, which has none
        return {}


def save_checkpoint(path: Path, opened: Opened, step: Step, *, overwrite: bool) -> None:
    """Write the model as a checkpoint whose newest step is `step`, in place of its `shared_sha256`."""
    shared, buffers = opened.model.network_parameters(), opened.model.shared_buffers()
    heads, owned = opened.model.head_tensors(), opened.model.own_tensors()
    record = CheckpointRecord(
        model=opened.spec,
        preprocessing=opened.preprocessing,
        tasks=opened.tasks,
        lineage=(*opened.lineage, step),
        shared=tuple(shared),
        buffers=tuple(buffers),
        heads={task: {name: head_tensor(task, name) for name in tensors} for task, tensors in heads.items()},
        aliases=opened.model.aliases(),
        owned={task: {name: f"mascli.task.{task}.{name}" for name in tensors} for task, tensors in owned.items()},
    )
    plain = {name: parameter.detach() for name, parameter in shared.items()}
    write_checkpoint(path, record, plain, buffers, heads, owned, foreign=opened.foreign, overwrite=overwrite)


def current_shared_sha256(model: MultiHeadModel) -> str:
    """The hash of what tasks share, as it is now: parameters, buffers, and the heads that several tasks use."""
    heads = model.head_parameters(model.common_heads)
    return shared_sha256({**model.network_parameters(), **model.shared_buffers(), **heads})


def example_image(preprocessing: Preprocessing) -> Tensor:
    """Two empty images [2, C, H, W] as the network will get them."""
    return torch.zeros(2, preprocessing.channels, *preprocessing.size)


def chosen_device(name: str) -> torch.device:
    """The device of `--device`: `auto` is a GPU where there is one.

    Raises:
        UsageError: this machine or this build of torch has no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False  # float32 means float32
    torch.backends.cudnn.deterministic = True
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = printable(str(error).splitlines()[0])
        raise UsageError(f"--device {printable(name)} is not available here ({reason}); leave it out") from error
    return device


def _open_plain(path: Path, options: ModelOptions, device: torch.device, observer: Observer) -> Opened:
    if options.model is None:
        raise UsageError(
            f"{printable(path)} holds plain weights: say which architecture they are for with --model, as in "
            "--model torchvision:resnet18"
        )
    opened = start_checkpoint(options, path, device, observer)
    first = Step(command="init", shared_sha256=current_shared_sha256(opened.model), parent_sha256=file_sha256(path))
    return replace(opened, lineage=(first,), file_sha256=first.parent_sha256)


def _with_weights(
    network: nn.Module,
    spec: ModelSpec,
    preprocessing: Preprocessing,
    classifier: str,
    state: Mapping[str, Tensor],
    path: Path,
) -> nn.Module:
    weight = state.get(f"{classifier}.weight")
    own = network.state_dict()
    if weight is not None and weight.dim() > 0 and f"{classifier}.weight" in own:
        classes = weight.shape[0]
        if classes != own[f"{classifier}.weight"].shape[0] and spec.source != "python":
            network = build_network(spec, preprocessing, classes=classes).float()
            own = network.state_dict()
    lacking = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    foreign = [name for name in state if name not in own]
    other = [
        f"{name} is {list(state[name].shape)} in the file and {list(own[name].shape)} in the model"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    if lacking or foreign or other:
        found = [f"the file lacks {listed(lacking, 3)}"] * bool(lacking)
        found += [f"the model has no {listed(foreign, 3)}"] * bool(foreign) + other[:3]
        raise CheckpointError(f"{printable(path)} does not hold the weights of {spec}: {'; '.join(found)}")
    network.load_state_dict(dict(state), strict=False)
    return network


def _check_fit(path: Path, model: MultiHeadModel, record: CheckpointRecord, header: Header) -> None:
    """Check that the file has every tensor of the model as it is built here, in its shape and dtype, and no other."""
    every: dict[str, Tensor] = {**model.network_parameters(), **model.shared_buffers()}
    own = {name: tensor for name, tensor in every.items() if name in record.own_names}
    expected = {name: tensor for name, tensor in every.items() if name not in own}
    table = {name: name for name in (*record.shared, *record.buffers)}
    for task, stored_as in record.owned.items():
        expected |= {f"task {task} {name}": tensor for name, tensor in own.items()}
        table |= {f"task {task} {name}": stored for name, stored in stored_as.items()}
    for task, tensors in model.head_tensors().items():
        expected |= {f"head {task} {name}": tensor for name, tensor in tensors.items()}
        table |= {f"head {task} {name}": stored for name, stored in record.heads[task].items()}
    wanted = {name: to_source(tensor) for name, tensor in expected.items()}
    found = {name: header.tensors[stored] for name, stored in table.items()}
    lacking, foreign = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    problems = [f"it lacks {listed(lacking, 3)}"] * bool(lacking) + [f"it has {listed(foreign, 3)}"] * bool(foreign)
    problems += [
        f"{printable(name)} is {found[name].dtype} {list(found[name].shape)}, not {source.dtype} {list(source.shape)}"
        for name, source in wanted.items()
        if name in found and (found[name].dtype, found[name].shape) != (source.dtype, source.shape)
    ][:3]
    if problems:
        raise CheckpointError(
            f"{printable(path)} does not fit {record.model} as it is built here: {'; '.join(problems)}; is the library "
            "that builds the model another version?"
        )


def _check_finite(path: Path, model: MultiHeadModel) -> None:
    own = {f"{name} of {task}": tensor for task, table in model.own_tensors().items() for name, tensor in table.items()}
    for name, tensor in {**model.network_parameters(), **own, **model.state_dict()}.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise NumericsError(
                f"{printable(path)}: {printable(name.removeprefix('network.'))} holds numbers that are not finite; "
                "start from weights without them"
            )


def _class_names(options: ModelOptions, count: int) -> tuple[str, ...]:
    if options.classes is None:
        return tuple(str(number) for number in range(count))
    names = class_lines(options.classes)
    if len(names) != count or len(set(names)) != count:
        raise UsageError(
            f"--classes {printable(options.classes)} names {len(set(names))} different classes in {len(names)} lines; "
            f"the classifier has {count} outputs: one line each"
        )
    return names
