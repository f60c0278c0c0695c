"""The contenders: each is made for a job, in a process of its own, with random weights."""

from __future__ import annotations

from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.job import CLASSES, Job


class Ours:
    """This package."""

    drop_path_rate = 0.0

    def __init__(self, job: Job) -> None:
        from segformer_edu import SegFormer, SegFormerConfig

        if job.sees_a_picture:
            from benchmarks.learned import model_for

            model = model_for(job)
        else:
            config = SegFormerConfig.named(
                job.model, num_classes=CLASSES, drop_path_rate=self.drop_path_rate
            )
            model = SegFormer(config).eval()
        self.model = self.prepared(model).to(job.device, job.torch_dtype)

    def prepared(self, model: Any) -> Any:
        return model

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images)

    def predict(self, images: Tensor) -> Tensor:
        return self.model.predict(images)

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        from segformer_edu import segmentation_loss

        return segmentation_loss(self.model(images), labels)


class DropPath(Ours):
    """This package's model, trained with drop-path: what is dropped is not computed."""

    drop_path_rate = 0.4


class Folded(Ours):
    """This package's model with the decoder's matrices composed once and for all."""

    def prepared(self, model: Any) -> Any:
        return model.folded()


class Compiled(Ours):
    """This package's model, compiled by torch."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.forward = torch.compile(self.model, fullgraph=True)


class Transformers:
    """Hugging Face transformers, with torch's own attention."""

    attention = "sdpa"

    def __init__(self, job: Job) -> None:
        from transformers import SegformerConfig, SegformerForSemanticSegmentation

        from segformer_edu import SegFormerConfig

        if job.sees_a_picture:
            from benchmarks.learned import model_for

            with TemporaryDirectory() as folder:
                model_for(job).save_pretrained(folder)
                self.model = SegformerForSemanticSegmentation.from_pretrained(
                    folder, attn_implementation=self.attention
                ).eval()
            return
        ours = SegFormerConfig.named(job.model)
        config = SegformerConfig(
            num_labels=CLASSES,
            hidden_sizes=list(ours.embed_dims),
            depths=list(ours.depths),
            num_attention_heads=list(ours.num_heads),
            sr_ratios=list(ours.reduction_ratios),
            mlp_ratios=list(ours.mlp_ratios),
            decoder_hidden_size=ours.decoder_dim,
            drop_path_rate=0.0,
            attn_implementation=self.attention,
        )
        model = SegformerForSemanticSegmentation(config).eval()
        self.model = model.to(job.device, job.torch_dtype)

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images).logits

    def predict(self, images: Tensor) -> Tensor:
        size = images.shape[-2:]
        return F.interpolate(self.forward(images), size, mode="bilinear").argmax(1)

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        return self.model(images, labels=labels).loss


class TransformersEager(Transformers):
    """The same, with the attention matrix computed in full."""

    attention = "eager"


class TransformersCompiled(Transformers):
    """The same as the first, compiled by torch."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        compiled = torch.compile(self.model)
        self.forward = lambda images: compiled(images).logits


class Replayed:
    """A forward pass that is recorded once as a CUDA graph, and then replayed."""

    recorded: tuple[Tensor, torch.cuda.CUDAGraph, Tensor] | None = None

    def forward(self, images: Tensor) -> Tensor:
        if self.recorded is None:
            self.recorded = self.record(images.clone())
        given, graph, answer = self.recorded
        given.copy_(images)
        graph.replay()
        return answer

    def record(self, images: Tensor) -> tuple[Tensor, torch.cuda.CUDAGraph, Tensor]:
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):  # passes that do not count, on a stream of their own
            for _ in range(3):
                super().forward(images)  # type: ignore[misc]
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            answer = super().forward(images)  # type: ignore[misc]
        return images, graph, answer


class OursReplayed(Replayed, Ours):
    """This package's model, replayed."""


class TransformersReplayed(Replayed, Transformers):
    """The model of transformers, replayed."""


class ModelsPytorch:
    """segmentation_models_pytorch, without the resize to full size that its head ends with."""

    def __init__(self, job: Job) -> None:
        from segmentation_models_pytorch import Segformer

        model = Segformer(f"mit_{job.model}", encoder_weights=None, classes=CLASSES)
        self.model = model.eval().to(job.device, job.torch_dtype)
        self.head, self.resize, self.activation = model.segmentation_head
        model.segmentation_head = self.head

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images)

    def predict(self, images: Tensor) -> Tensor:
        return self.resize(self.model(images)).argmax(1)

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.resize(self.model(images)), labels)


class OnnxRuntime:
    """ONNX Runtime on the export of transformers."""

    library = "transformers"

    def __init__(self, job: Job) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = job.threads, 1
        self.session = onnxruntime.InferenceSession(
            job.exported(self.library), options, providers=["CPUExecutionProvider"]
        )

    def forward(self, images: Tensor) -> Any:
        return self.session.run(None, {"images": images.float().numpy()})[0]


class OursOnnxRuntime(OnnxRuntime):
    """ONNX Runtime on our export."""

    library = "ours"


class OursInt8(OnnxRuntime):
    """ONNX Runtime on our export in 8 bits."""

    library = "ours-int8"


class OpenVino:
    """OpenVINO on the export of transformers, in the job's precision; its own choice may differ."""

    library = "transformers"

    def __init__(self, job: Job) -> None:
        import openvino

        settings = {
            "INFERENCE_NUM_THREADS": job.threads,
            "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[job.dtype],
            "PERFORMANCE_HINT": "LATENCY",
        }
        core = openvino.Core()
        graph = core.read_model(job.exported(self.library))
        graph.reshape([job.batch, 3, job.size, job.size])  # a fixed size is several times faster
        self.model = core.compile_model(graph, "CPU", settings)

    def forward(self, images: Tensor) -> Any:
        return self.model(images.float().numpy(), share_inputs=True, share_outputs=True)[0]


class OursOpenVino(OpenVino):
    """OpenVINO on our export."""

    library = "ours"


CONTENDERS: dict[str, type] = {
    "segformer_edu": Ours,
    "segformer_edu, folded": Folded,
    "segformer_edu, drop-path 0.4": DropPath,
    "segformer_edu, compiled": Compiled,
    "segformer_edu in ONNX Runtime": OursOnnxRuntime,
    "segformer_edu in ONNX Runtime, int8": OursInt8,
    "segformer_edu in OpenVINO": OursOpenVino,
    "transformers, sdpa": Transformers,
    "transformers, eager": TransformersEager,
    "transformers, compiled": TransformersCompiled,
    "transformers in ONNX Runtime": OnnxRuntime,
    "transformers in OpenVINO": OpenVino,
    "segmentation_models_pytorch": ModelsPytorch,
    "segformer_edu, CUDA graph": OursReplayed,
    "transformers, CUDA graph": TransformersReplayed,
}
OURS, FOLDED, DROP_PATH, COMPILED, OURS_ORT, INT8, OURS_OV, *THEIRS = CONTENDERS
SDPA, EAGER, SDPA_COMPILED, ORT, OV, SMP, OURS_GRAPH, SDPA_GRAPH = THEIRS
ENGINES = (OURS_ORT, INT8, OURS_OV, ORT, OV)


def is_module(contender: Any) -> bool:
    """Whether it is a model of torch's, which takes images of any size."""
    return isinstance(getattr(contender, "model", None), nn.Module)
