"""Seeded defects: does a test fail for each of the mistakes that people make and publish?

    python -m tools.defects               # all of them: some minutes
    python -m tools.defects 3 17 widgets  # the third, the seventeenth, those on "widgets"

The tracked files are copied, and one defect at a time is put into the copy, where the test that it
names is run and, if that passes, all the others. Run it before a release.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path

from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
CHECK = "-m tools.lessons check"  # stands where the name of a test may stand
PYTEST = ("-m", "pytest", "-q", "--tb=no", "-rfE", "-p", "no:cacheprovider")
NBVAL = ("--nbval", "--nbval-current-env", "--nbval-cell-timeout=120")
NO_NBVAL = ("-p", "no:nbval")  # whose import takes as long as all others of pytest and torch
# The latter compares the table below with the files, so it would fail for every defect.
OTHERS = ("--ignore=tests/browser", "--ignore=tests/tools/test_defects.py")
RED = re.compile(r"^(?:FAILED|ERROR) ([^\s\[]+)", re.MULTILINE)


@dataclass(frozen=True)
class Defect:
    """A mistake that a test has to notice.

    Args:
        what: the mistake, in a few words.
        path: the file.
        old: a piece of one line, which occurs once in the file.
        new: what the mistake makes of it.
        test: the name of the test that has to turn red, as pytest has it; a notebook, which is then
            run; or `CHECK`.
    """

    what: str
    path: str
    old: str
    new: str
    test: str


DEFECTS = (
    # The model
    Defect(
        "the padding is half the stride",
        "segformer_edu/patch_embedding.py",
        "padding = patch_size // 2",
        "padding = stride // 2",
        "tests/test_patch_embedding.py::test_output_size_is_the_formula_of_the_docstring",
    ),
    Defect(
        "a view where axes should be permuted",
        "segformer_edu/patch_embedding.py",
        "self.norm(tokens.permute(0, 2, 3, 1))",
        "self.norm(tokens.reshape(tokens.permute(0, 2, 3, 1).shape))",
        "tests/test_patch_embedding.py::test_equals_unfold_and_linear_with_the_same_weights",
    ),
    Defect(
        "keys and values are swapped",
        "segformer_edu/attention.py",
        "self.key(reduced), self.value(reduced)",
        "self.value(reduced), self.key(reduced)",
        "tests/test_attention.py::test_without_reduction_it_is_torchs_multi_head_attention",
    ),
    Defect(
        "the norm after the reduction is missing",
        "segformer_edu/attention.py",
        "return self.norm(blocks.permute(0, 2, 3, 1))",
        "return blocks.permute(0, 2, 3, 1)",
        "tests/test_attention.py::test_reduction_is_reshape_and_linear_of_eq_2",
    ),
    Defect(
        "the heads are not brought back together before the output",
        "segformer_edu/attention.py",
        "mixed.transpose(1, 2).reshape(x.shape)",
        "mixed.reshape(x.shape)",
        "tests/test_attention.py::test_output_is_the_values_weighed_by_the_weights",
    ),
    Defect(
        "scores are divided by √C, as if there were one head",
        "segformer_edu/attention.py",
        "math.sqrt(q.shape[-1])",
        "math.sqrt(self.dim)",
        "tests/test_attention.py::test_output_is_the_values_weighed_by_the_weights",
    ),
    Defect(
        "strips of Mix-FFN do not look over their edge",
        "segformer_edu/strips.py",
        "first, last = max(top - halo, 0), min(bottom + halo, height)",
        "first, last = top, bottom",
        "tests/test_strips.py::test_a_function_in_strips_gives_what_it_gives_on_the_whole_map",
    ),
    Defect(
        "a map that is padded with its own rows is computed in strips",
        "segformer_edu/mix_ffn.py",
        "whole=self.training or inward",
        "whole=self.training",
        "tests/test_mix_ffn.py::test_another_padding_sees_the_other_rows_of_the_map",
    ),
    Defect(
        "a dropped branch is multiplied by zero",
        "segformer_edu/stochastic_depth.py",
        "torch.where(kept, self.scale * x, 0)",
        "kept * self.scale * x",
        "tests/test_stochastic_depth.py::test_a_dropped_branch_is_not_there_whatever_it_holds",
    ),
    Defect(
        "predict answers in the mode of training",
        "segformer_edu/segformer.py",
        "with evaluation(self):",
        "with torch.no_grad():",
        "tests/test_segformer.py::test_predict_evaluates_and_leaves_the_model_in_its_modes",
    ),
    Defect(
        "the rate of dropping is taken for that of keeping",
        "segformer_edu/stochastic_depth.py",
        "draws >= self.rate",
        "draws < self.rate",
        "tests/test_stochastic_depth.py::test_every_precision_drops_at_the_rate_it_was_given",
    ),
    Defect(
        "kept branches are not scaled",
        "segformer_edu/stochastic_depth.py",
        "return 1 / (1 - self.rate) if self.rate < 1 else 0.0",
        "return 1.0",
        "tests/test_stochastic_depth.py::test_the_mean_is_kept",
    ),
    Defect(
        "the last block never reaches the full rate",
        "segformer_edu/stochastic_depth.py",
        "rate * block / max(depth - 1, 1)",
        "rate * block / depth",
        "tests/test_stochastic_depth.py::test_linspace_rule_is_torch_linspace",
    ),
    Defect(
        "every stage starts the drop rates again",
        "segformer_edu/config.py",
        "rates = iter(drop_rates(self.drop_path_rate, sum(self.depths), self.drop_path_rule))",
        "rates = drop_rates(self.drop_path_rate, sum(self.depths), self.drop_path_rule)",
        "tests/test_encoder.py::test_blocks_have_the_drop_rates_of_the_schedule_in_order",
    ),
    Defect(
        "the norm after a stage is forgotten",
        "segformer_edu/encoder.py",
        "return self.norm(x).permute(0, 3, 1, 2)",
        "return x.permute(0, 3, 1, 2)",
        "tests/oracle/test_outputs.py::test_logits_of_large_images",
    ),
    Defect(
        "the epsilon of a stage's norm is torch's",
        "segformer_edu/encoder.py",
        "self.norm = nn.LayerNorm(dim, eps=eps)",
        "self.norm = nn.LayerNorm(dim)",
        "tests/test_encoder.py::test_epsilons_are_the_configs_in_block_and_stage_norms_and_1e5_elsewhere",
    ),
    Defect(
        "stages are concatenated the finest first",
        "segformer_edu/decoder.py",
        "zip(reversed(slices), projections",
        "zip(slices, projections",
        "tests/test_decoder.py::test_equals_the_published_form",
    ),
    Defect(
        "the mean of the BatchNorm is folded in unscaled",
        "segformer_edu/decoder.py",
        "(bias - mean) * scale + norm.bias",
        "bias * scale - mean + norm.bias",
        "tests/test_decoder.py::test_equals_the_published_form",
    ),
    Defect(
        "maps are resized with aligned corners",
        "segformer_edu/strips.py",
        'width), mode="bilinear")',
        'width), mode="bilinear", align_corners=True)',
        "tests/test_decoder.py::test_equals_the_published_form",
    ),
    Defect(
        "a depthwise kernel starts as if all channels met in it",
        "segformer_edu/layers.py",
        "module.out_channels // module.groups",
        "module.out_channels",
        "tests/test_layers.py::test_initial_weights_have_the_spread_of_the_reference",
    ),
    Defect(
        "a logit is compared with one half, as if it were a probability",
        "segformer_edu/segformer.py",
        "(0, 0, 0, 0, 1, 0))  # a binary model",
        "(0, 0, 0, 0, 1, 0), value=0.5)  # a binary model",
        "tests/test_segformer.py::test_predict_of_a_binary_model_is_a_probability_above_one_half",
    ),
    Defect(
        "B4 has a block too few in stage 2",
        "segformer_edu/config.py",
        "(3, 8, 27, 3)",
        "(3, 7, 27, 3)",
        "tests/test_config.py::test_published_variants",
    ),
    Defect(
        "the smallest image is one pixel larger than it need be",
        "segformer_edu/config.py",
        "stage.stride + stage.patch_size % 2",
        "stage.stride + 1",
        "tests/test_config.py::test_min_image_size_is_the_least_that_leaves_every_stage_a_key",
    ),
    # The loss and the metrics
    Defect(
        "the loss is divided by all pixels",
        "segformer_edu/loss.py",
        "return total / weight",
        "return total / labels.numel()",
        "tests/test_loss.py::test_equals_cross_entropy_of_resized_logits",
    ),
    Defect(
        "255 is ignored, whatever was asked for",
        "segformer_edu/loss.py",
        "weights, ignore_index=ignore_index",
        "weights, ignore_index=255",
        "tests/test_loss.py::test_any_ignore_index",
    ),
    Defect(
        "rows between two strips keep the gradient of one",
        "segformer_edu/loss.py",
        "gradient[:, :, rows] += torch",
        "gradient[:, :, rows] = torch",
        "tests/test_loss.py::test_equals_cross_entropy_of_resized_logits",
    ),
    Defect(
        "the confusion matrix is transposed",
        "segformer_edu/training/metrics.py",
        "pairs = true * num_classes + given",
        "pairs = given * num_classes + true",
        "tests/training/test_metrics.py::test_nine_pixels_by_hand",
    ),
    Defect(
        "the union counts the intersection twice",
        "segformer_edu/training/metrics.py",
        "confusions.sum(-1) + confusions.sum(-2) - both",
        "confusions.sum(-1) + confusions.sum(-2)",
        "tests/training/test_metrics.py::test_scores_are_those_of_scikit_learn",
    ),
    Defect(
        "a class that appears nowhere counts as zero in the mean",
        "segformer_edu/training/metrics.py",
        "np.nanmean(ious(confusions), axis=-1)",
        "np.nan_to_num(ious(confusions)).mean(axis=-1)",
        "tests/training/test_metrics.py::test_a_class_that_occurs_nowhere_does_not_count_and_one_never_found_does",
    ),
    # Training
    Defect(
        "norms and biases decay too",
        "segformer_edu/training/optimizer.py",
        '"weight_decay": 0.0',
        '"weight_decay": weight_decay',
        "tests/training/test_optimizer.py::test_norms_and_biases_are_not_decayed_and_the_decoder_learns_faster",
    ),
    Defect(
        "the warm-up begins with a rate of zero",
        "segformer_edu/training/optimizer.py",
        "(step + 1) / warmup_steps",
        "step / warmup_steps",
        "tests/training/test_optimizer.py::test_the_rate_rises_in_a_line_and_falls_to_nothing",
    ),
    Defect(
        "the loop asks for the rate of the step after",
        "segformer_edu/training/loop.py",
        "step - 1, settings.steps,",
        "step, settings.steps,",
        "tests/training/test_loop.py::test_every_step_has_the_learning_rate_of_the_schedule",
    ),
    Defect(
        "the running average follows by its decay",
        "segformer_edu/training/optimizer.py",
        "ours.lerp_(theirs, 1 - decay)",
        "ours.lerp_(theirs, decay)",
        "tests/training/test_optimizer.py::test_an_average_is_the_weighted_mean_that_it_says",
    ),
    Defect(
        "the best weights are saved, and not their average that scored",
        "segformer_edu/training/loop.py",
        "parts.evaluated if better else None",
        "parts.network if better else None",
        "tests/training/test_loop.py::test_what_it_logs_is_what_the_saved_weights_score",
    ),
    Defect(
        "augmentation goes by the number of the sample alone",
        "segformer_edu/training/samples.py",
        "np.random.default_rng([self.seed, number])",
        "np.random.default_rng(number)",
        "tests/training/test_samples.py::test_another_seed_augments_the_same_picture_otherwise",
    ),
    Defect(
        "every process drops the same branches",
        "segformer_edu/training/parts.py",
        "np.random.SeedSequence([seed, step, rank])",
        "np.random.SeedSequence([seed, step])",
        "tests/training/test_loop.py::test_dropout_has_a_seed_for_each_run_step_and_process",
    ),
    Defect(
        "a run that goes on begins its pictures too early",
        "segformer_edu/training/parts.py",
        "first=done * settings.batch_size",
        "first=done",
        "tests/training/test_loop.py::test_asked_to_stop_it_finishes_the_step_and_saves",
    ),
    Defect(
        "each process divides its gradient once more",
        "segformer_edu/training/gradient.py",
        "accelerator.backward(loss * accelerator.num_processes)",
        "accelerator.backward(loss)",
        "tests/training/test_processes.py::test_the_curves_are_the_same_to_rounding",
    ),
    Defect(
        "classes weigh in full inverse to their frequency",
        "segformer_edu/training/pictures.py",
        "1 / np.sqrt(",
        "1 / (",
        "tests/training/test_samples.py::test_weights_go_with_one_over_the_root_of_the_frequency",
    ),
    Defect(
        "a seed of the day decides which pictures are held out",
        "segformer_edu/training/own_pictures.py",
        "others if trained else shuffled(names)",
        "others if trained else shuffled(names)[settings.seed :]",
        "tests/training/test_own_pictures.py::"
        "test_what_is_held_out_hangs_on_names_alone_and_hardly_moves_when_one_is_added",
    ),
    Defect(
        "masks of one class are trained on",
        "segformer_edu/training/own_pictures.py",
        'len(shown) < (2 if part == "training" else 1)',
        "len(shown) < 1",
        "tests/training/test_own_pictures.py::"
        "test_black_and_white_masks_of_which_white_is_ignored_are_refused",
    ),
    # Checkpoints
    Defect(
        "the value is taken for the key where a file joins them",
        "segformer_edu/checkpoints/layouts.py",
        'parts = found[1].split("_")',
        'parts = found[1].split("_")[::-1]',
        "tests/checkpoints/test_layouts.py::test_a_layout_loads_with_the_callers_config",
    ),
    Defect(
        "a file's stages are counted from the wrong end",
        "segformer_edu/checkpoints/layouts.py",
        'stage = num_stages - 1 - index["reversed"]',
        'stage = index["reversed"]',
        "tests/checkpoints/test_layouts.py::test_a_layout_loads_with_the_callers_config",
    ),
    Defect(
        "a saved epsilon is overruled by its layout's",
        "segformer_edu/checkpoints/configs.py",
        '**{"block_norm_eps": weights.layout.block_norm_eps, **block}',
        '**{**block, "block_norm_eps": weights.layout.block_norm_eps}',
        "tests/checkpoints/test_save.py::test_there_and_back_gives_the_same_model_and_config",
    ),
    Defect(
        "a pickle may run its code",
        "segformer_edu/checkpoints/files.py",
        "weights_only=True",
        "weights_only=False",
        "tests/checkpoints/test_files.py::test_code_in_a_file_is_never_run",
    ),
    Defect(
        "a file gets its name before it is on the disk",
        "segformer_edu/files.py",
        "os.fsync(file.fileno())",
        "file.fileno()",
        "tests/test_files.py::test_the_name_moves_when_the_bytes_are_on_the_disk",
    ),
    # Data
    Defect(
        "seed and index add up, so that scenes come twice",
        "segformer_edu/data/scenes.py",
        "rng = np.random.default_rng([seed, index])",
        "rng = np.random.default_rng(seed + index)",
        "tests/data/test_scenes.py::test_every_seed_and_every_index_is_another_scene",
    ),
    Defect(
        "labels are shifted by one",
        "segformer_edu/data/masks.py",
        "labels[list(values)] = range(num_classes)",
        "labels[list(values)] = range(1, num_classes + 1)",
        "tests/data/test_folder.py::test_numbers_of_classes_and_of_what_is_ignored_can_be_any",
    ),
    Defect(
        "a palette's colours are read as classes",
        "segformer_edu/data/masks.py",
        "numbers = np.array(file)",
        'numbers = np.array(file.convert("L"))',
        "tests/data/test_folder.py::test_a_palette_mask_gives_its_indices_whatever_its_colours",
    ),
    Defect(
        "the picture is flipped, its labels are not",
        "segformer_edu/data/augment.py",
        "for each in (new_image, new_labels)",
        "for each in (new_image, new_labels[:, ::-1])",
        "tests/data/test_augment.py::test_labels_stay_on_the_colours_that_they_name",
    ),
    Defect(
        "labels are resized bilinearly",
        "segformer_edu/data/augment.py",
        "[Image.Resampling.NEAREST]",
        "[Image.Resampling.BILINEAR]",
        "tests/data/test_augment.py::test_no_class_is_ever_invented",
    ),
    Defect(
        "blue is divided by the spread of green",
        "segformer_edu/data/photos.py",
        "(0.229, 0.224, 0.225)",
        "(0.229, 0.225, 0.224)",
        "tests/data/test_photos.py::test_normalize_equals_that_of_transformers",
    ),
    Defect(
        "pets and their background have each other's name",
        "segformer_edu/data/pets.py",
        '("pet", "background", "border")',
        '("background", "pet", "border")',
        "tests/data/test_pets.py::test_every_kind_of_file_comes_out_in_three_colours_with_its_labels",
    ),
    # Analysis
    Defect(
        "started windows are counted as keys",
        "segformer_edu/analysis/cost.py",
        "(height // r) * (width // r)",
        "-(-height // r) * -(-width // r)",
        "tests/analysis/test_cost.py::test_multiply_adds_are_what_torch_counts",
    ),
    Defect(
        "more heads make more multiply-adds",
        "segformer_edu/analysis/cost.py",
        "attention_matmuls=depth * 2 * n * m * c",
        "attention_matmuls=depth * heads * 2 * n * m * c",
        "tests/analysis/test_cost.py::test_multiply_adds_are_what_torch_counts",
    ),
    Defect(
        "attention is looked at while blocks are dropped",
        "segformer_edu/analysis/attention_maps.py",
        "with evaluation(model), ExitStack() as hooks",
        "with ExitStack() as hooks",
        "tests/analysis/test_attention_maps.py::test_it_looks_at_all_samples_even_while_the_model_trains",
    ),
    Defect(
        "each stage's summand has a ReLU of its own",
        "segformer_edu/analysis/contributions.py",
        "passed = parts.sum(1, keepdim=True) > 0",
        "passed = parts > 0",
        "tests/analysis/test_contributions.py::test_they_add_up_to_the_logits",
    ),
    Defect(
        "gradients of three colours cancel out",
        "segformer_edu/analysis/receptive_field.py",
        "gradient.norm(dim=1).mean(0)",
        "gradient.sum(1).abs().mean(0)",
        "tests/analysis/test_receptive_field.py::test_the_strength_is_the_length_of_the_gradient",
    ),
    Defect(
        "rows and columns change places",
        "segformer_edu/analysis/position.py",
        'np.meshgrid(rows, columns, indexing="ij")',
        'np.meshgrid(columns, rows, indexing="xy")',
        "tests/analysis/test_position.py::test_positions_are_centres",
    ),
    # Pictures
    Defect(
        "the alt text of a picture is lost",
        "segformer_edu/plots/show.py",
        'metadata={"image/png": {"alt": alt}}',
        "metadata={}",
        "tests/plots/test_show.py::test_a_picture_is_shown_with_its_words_as_metadata_and_as_text",
    ),
    Defect(
        "a running mean reaches past both ends",
        "segformer_edu/plots/training.py",
        '"valid")',
        '"same")',
        "tests/plots/test_training.py::test_a_rolling_mean_is_the_mean_of_its_window",
    ),
    Defect(
        "pixels are points, and not squares with a centre",
        "segformer_edu/plots/diagrams.py",
        "(index + 0.5) * small / large - 0.5",
        "index * small / large",
        "tests/plots/test_diagrams.py::test_the_positions_are_those_of_torch",
    ),
    Defect(
        "a stored picture is not the one that is drawn",
        "segformer_edu/plots/diagrams.py",
        '"attention,\\nits bill"',
        '"attention,\\nits cost"',
        "tests/figures/test_figures.py::test_a_stored_picture_is_the_one_that_would_be_drawn_now",
    ),
    # Widgets
    Defect(
        "one slider does not redraw the picture",
        "segformer_edu/widgets/explorer.py",
        "for each in self.sliders.values():",
        "for each in [*self.sliders.values()][:-1]:",
        "tests/widgets/test_every_widget.py::test_every_slider_changes_picture_and_words",
    ),
    Defect(
        "a notebook stores a widget's picture without words",
        "segformer_edu/widgets/explorer.py",
        'return data, {"image/png": {"alt": picture.alt}}',
        "return data, {}",
        "tests/widgets/test_every_widget.py::test_a_notebook_stores_the_first_picture_and_its_words",
    ),
    Defect(
        "the table shows tokens where it says keys",
        "segformer_edu/widgets/spatial_reduction.py",
        'f"{now.keys:,}", f"{then.keys:,}"',
        'f"{now.tokens:,}", f"{then.tokens:,}"',
        "tests/widgets/test_spatial_reduction.py::test_the_table_holds_the_numbers_of_analysis_cost",
    ),
    Defect(
        "the bill forgets that each head has a matrix",
        "segformer_edu/widgets/attention_bill.py",
        "return self.heads * self.tokens**2",
        "return self.tokens**2",
        "tests/widgets/test_attention_bill.py::test_entries_and_bytes_are_those_of_matrices_that_are_made",
    ),
    Defect(
        "a pixel in one patch is called unseen",
        "segformer_edu/widgets/patches.py",
        "share = (counts > 0).mean()",
        "share = (counts > 1).mean()",
        "tests/widgets/test_patches.py::test_tokens_overlap_and_coverage_are_those_of_torch",
    ),
    Defect(
        "rings are numbered from the middle, and not from the border",
        "segformer_edu/widgets/position.py",
        "tokens[half - 1, :half]",
        "tokens[half - 1, half:]",
        "tests/widgets/test_position.py::test_rings_are_told_from_the_border_inward",
    ),
    # Exercises: examiners that accept a wrong answer
    Defect(
        "tensors of other shapes are compared by broadcasting",
        "segformer_edu/exercises/exercise.py",
        "isinstance(right, Tensor) and left.shape == right.shape:",
        "isinstance(right, Tensor):",
        "tests/exercises/test_exercises.py::test_same_compares_value_and_shape",
    ),
    Defect(
        "02.5 asks for small scores only",
        "segformer_edu/exercises/lesson02.py",
        "if rng.random() < 0.5:",
        "if rng.random() < 0.0:",
        "tests/exercises/test_exercises.py::TestEveryExercise::test_three_wrong_answers_or_more_each_have_their_own_diagnosis[02.5]",
    ),
    Defect(
        "an answer writes into the memory of the reference",
        "segformer_edu/exercises/exercise.py",
        "return value.clone()",
        "return value",
        "tests/exercises/test_exercises.py::test_what_an_answer_does_to_its_inputs_reaches_no_one_else",
    ),
    Defect(
        "05.3 does not try a rate of one",
        "segformer_edu/exercises/lesson05.py",
        "torch.zeros(2, dtype=torch.bool), 1.0",
        "torch.zeros(2, dtype=torch.bool), 0.5",
        "tests/exercises/test_exercises.py::TestEveryExercise::test_three_wrong_answers_or_more_each_have_their_own_diagnosis[05.3]",
    ),
    Defect(
        "08.3 hands out no logits that are far apart",
        "segformer_edu/exercises/lesson08.py",
        "case(2, 4, 0.3, scale=200.0)",
        "case(2, 4, 0.3, scale=2.0)",
        "tests/exercises/test_exercises.py::TestEveryExercise::test_three_wrong_answers_or_more_each_have_their_own_diagnosis[08.3]",
    ),
    # Lessons and what makes them
    Defect(
        "a claim has millions of bytes where the text says MiB",
        "notebooks/source/claims/03.py",
        "_unreduced(512, 512).stages[0].attention_entries_per_block / 2**20",
        "_unreduced(512, 512).stages[0].attention_entries_per_block / 1e6",
        CHECK,
    ),
    Defect(
        "a comment is corrected in the package and in no lesson",
        "segformer_edu/decoder.py",
        "# W_i (D, D), stage 4 first",
        "# W_i (D, D), the coarsest first",
        CHECK,
    ),
    Defect(
        "a sentence is corrected in the source and not in the notebook",
        "notebooks/source/05_stochastic_depth.py",
        "so that the mean stays what it was.",
        "so that the mean stays as it was.",
        CHECK,
    ),
    Defect(
        "a cell is edited in the notebook and not in the source",
        "notebooks/02_the_cost_of_attention.ipynb",
        "matrix = (x @ x.T / math.sqrt(2))",
        "matrix = (x @ x.T / 2**0.5)",
        CHECK,
    ),
    Defect(
        "a cell was never run",
        "notebooks/04_mix_ffn.ipynb",
        '"execution_count": 3,',
        '"execution_count": null,',
        CHECK,
    ),
    Defect(
        "a stored picture has lost its words",
        "notebooks/03_spatial_reduction.ipynb",
        '"alt": "Part of the face, 128 by 128 pixels',
        '"text": "Part of the face, 128 by 128 pixels',
        CHECK,
    ),
    Defect(
        "a number in a stored output is not what comes out",
        "notebooks/03_spatial_reduction.ipynb",
        "stage 1: 16,384 queries, r = 8, R = 64: 256 keys",
        "stage 1: 16,384 queries, r = 8, R = 64: 265 keys",
        "notebooks/03_spatial_reduction.ipynb",
    ),
    Defect(
        "the check lets a cell pass that was never run",
        "tools/lessons.py",
        "if cell.execution_count is None:",
        "if cell.execution_count == 0:",
        "tests/tools/test_lessons.py::test_a_cell_that_was_never_run_is_refused",
    ),
    Defect(
        "the mirror cuts docstrings from the top, and lines move",
        "tools/mirror.py",
        "key=lambda node: node.lineno, reverse=True",
        "key=lambda node: node.lineno",
        "tests/tools/test_mirror.py::test_docstrings_are_cut_to_their_first_sentence",
    ),
    Defect(
        "percents may stand in prose without a claim",
        "tools/prose.py",
        "(?: %|percent",
        "(?: percent",
        "tests/tools/test_prose.py::test_a_bare_number_is_found",
    ),
    # Experiments and weights
    Defect(
        "a result is made a little better by hand",
        "experiments/stochastic_depth.json",
        "[2.7603513174404015, 5.646173149309912",
        "[2.7603513174404015, 4.646173149309912",
        "tests/experiments/test_stochastic_depth.py::TestResults::test_the_stored_weights_have_the_stored_errors",
    ),
    Defect(
        "the recipe of a minute takes other steps than the lesson",
        "experiments/minute.yaml",
        "steps: 1000",
        "steps: 1150",
        "tests/experiments/test_training.py::test_the_minutes_file_is_the_lessons_recipe",
    ),
    Defect(
        "a digit of the card's mIoU is another",
        "segformer_edu/weights/nano/README.md",
        "| 128 × 128 | 0.8124",
        "| 128 × 128 | 0.8214",
        "tests/weights/test_nano.py::test_scores_on_held_out_scenes_are_those_of_the_card[nano-128-0.8]",
    ),
    # Commands
    Defect(
        "a run that failed exits as if it had not",
        "segformer_edu/__main__.py",
        "return say(speaker, error, 1)",
        "return say(speaker, error, 0)",
        "tests/commands/test_train_and_evaluate.py::test_a_loss_of_nan_is_one_line_and_exit_code_one",
    ),
    Defect(
        "the doctor calls every machine healthy",
        "segformer_edu/doctor.py",
        "healthy = healthy and extra not in NEEDED",
        "healthy = healthy or extra not in NEEDED",
        "tests/commands/test_doctor.py::test_the_doctor_says_what_is_missing_and_what_to_type",
    ),
    Defect(
        "recall stands under precision",
        "segformer_edu/commands/evaluate.py",
        "iou, recall, precision, share = (",
        "iou, precision, recall, share = (",
        "tests/commands/test_train_and_evaluate.py::test_evaluate_prints_and_writes_what_the_weights_score",
    ),
    Defect(
        "flags give way to the file of settings",
        "segformer_edu/commands/settings.py",
        "{**base.config, **changes[MANY]}",
        "{**changes[MANY], **base.config}",
        "tests/training/test_settings.py::test_flags_win_over_yaml_and_yaml_over_defaults",
    ),
    Defect(
        "an exported file tells its readers the wrong spread",
        "segformer_edu/commands/export.py",
        '"std": json.dumps(std)',
        '"std": json.dumps(mean)',
        "tests/commands/test_export.py::test_the_file_says_how_images_are_prepared_and_what_classes_are_called",
    ),
    # What installs it
    Defect(
        "conda allows an older numpy than pip",
        "environment.yml",
        "numpy>=2.0,<3",
        "numpy>=1.26,<3",
        "tests/test_packaging.py::test_conda_installs_what_make_lab_installs",
    ),
    Defect(
        "a constraint names a build that most machines cannot have",
        "constraints.txt",
        "torch==2.13.0",
        "torch==2.13.0+cpu",
        "tests/test_packaging.py::test_constraints_hold_versions_only",
    ),
    Defect(
        "a bound shuts out the version that the tests ran with",
        "pyproject.toml",
        '"pillow>=11.2.1"',
        '"pillow>=11.2.1,<13"',
        "tests/test_packaging.py::test_every_dependency_is_pinned_within_its_range",
    ),
    Defect(
        "a wheel leaves out what a widget shows",
        "pyproject.toml",
        '"**/*.npz",',
        "",
        "tests/test_packaging.py::test_a_wheel_holds_every_file_that_the_package_reads",
    ),
    Defect(
        "make lab leaves out what the hub needs",
        "Makefile",
        ".venv/lab.stamp: EXTRAS = lab,train,hub",
        ".venv/lab.stamp: EXTRAS = lab,train",
        "tests/test_packaging.py::test_conda_installs_what_make_lab_installs",
    ),
    Defect(
        "the syllabus links a lesson that is not there",
        "README.md",
        "(notebooks/05_stochastic_depth.ipynb)",
        "(notebooks/05_droppath.ipynb)",
        "tests/test_packaging.py::test_the_syllabus_links_every_lesson_there_is_and_no_other",
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "which",
        nargs="*",
        metavar="NUMBER|WORD",
        help="only the defects with these numbers, and those that hold one of these words in what "
        "they are, their file or their test; all if left out",
    )
    asked = parser.parse_args(arguments).which
    which = chosen(DEFECTS, asked)
    if not which:
        parser.error(f"no defect of 1 to {len(DEFECTS)} has this name: {', '.join(asked)}")
    with tempfile.TemporaryDirectory(prefix="defects-") as folder:
        copy(ROOT, tracked(ROOT), Path(folder))
        return 0 if report(which, Path(folder)) == len(which) else 1


def chosen(defects: Sequence[Defect], asked: Collection[str]) -> dict[int, Defect]:
    """The defects with these numbers, from 1, or these words; or all of them."""

    def meant(number: int, defect: Defect) -> bool:
        text = " ".join(astuple(defect)).lower()
        return any(
            int(word) == number if word.isdecimal() else word.lower() in text for word in asked
        )

    numbered = enumerate(defects, start=1)
    return {number: each for number, each in numbered if not asked or meant(number, each)}


def tracked(root: Path) -> list[str]:
    """The files that git knows and that are there."""
    command = ["git", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE).stdout.decode()
    return [name for name in listed.split("\0") if (root / name).is_file()]


def copy(root: Path, names: Iterable[str], folder: Path) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, folder / name)


def report(defects: Mapping[int, Defect], folder: Path) -> int:
    """Try defects in a copy, and print a row of a table for each; how many were caught."""
    caught = 0
    with tqdm(total=len(defects), unit=" defects") as bar:
        bar.set_description("named tests without a defect")
        red_before = red(folder, sorted({defect.test for defect in defects.values()}))
        bar.set_description("")
        tqdm.write("| | | file | defect | test |\n|---|---|---|---|---|")
        for number, defect in defects.items():
            verdict, by = outcome(defect, folder, red_before)
            caught += verdict in ("red", "red elsewhere")
            what = f"{defect.path:<42} | {defect.what:<63}"
            tqdm.write(f"| {number:>2} | {verdict:<15} | {what} | {by} |")
            bar.update()
    print(f"{caught} of {len(defects)} caught")
    return caught


def outcome(defect: Defect, folder: Path, red_before: Collection[str]) -> tuple[str, str]:
    """What became of a defect, and the test that says so."""
    if any(is_of(name, defect.test) for name in red_before):
        return "RED WITHOUT IT", defect.test
    with seeded(defect, folder):
        if red(folder, [defect.test], ["--exitfirst"]):
            return "red", defect.test
        suspects = red(folder, ["tests", CHECK], OTHERS)
    red_anyway = red(folder, suspects)
    if proof := [name for name in suspects if name not in red_anyway]:
        return "red elsewhere", f"{proof[0]}, not {defect.test}"
    return "SURVIVED", defect.test


@contextmanager
def seeded(defect: Defect, folder: Path) -> Iterator[None]:
    """A copy with a defect in it, and afterwards without."""
    file = folder / defect.path
    whole = file.read_bytes()
    if whole.count(defect.old.encode()) != 1:
        raise ValueError(f"{defect.old!r} does not occur once in {defect.path}: correct the table.")
    file.write_bytes(whole.replace(defect.old.encode(), defect.new.encode()))
    try:
        yield
    finally:
        file.write_bytes(whole)


def red(folder: Path, tests: Sequence[str], options: Sequence[str] = ()) -> list[str]:
    """Which of these tests are red in a copy, and of those in these files and folders."""
    found = []
    if CHECK in tests and run(folder, CHECK.split()).returncode:
        found.append(CHECK)
    if names := [name for name in tests if name != CHECK]:
        nbval = NBVAL if any(name.endswith(".ipynb") for name in names) else NO_NBVAL
        done = run(folder, [*PYTEST, *nbval, *options, *names])
        if done.returncode not in (0, 1):  # 1: tests have failed; else pytest could not run them
            raise RuntimeError(done.stdout)
        found += RED.findall(done.stdout)
    return found


def is_of(name: str, test: str) -> bool:
    """Whether what pytest calls red is a test, a part of it, or the file without which it cannot
    run.
    """
    test = test.partition("[")[0]
    return name == test or name.startswith(f"{test}::") or test.startswith(f"{name}::")


def run(folder: Path, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Python in a copy, whose package is the one that it and its own processes import.

    No bytecode is written: of two files of one length and one second, it would be that of the
    first.
    """
    environment = {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | environment | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )


if __name__ == "__main__":
    sys.exit(main())
