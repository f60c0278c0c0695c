# %% [markdown]
# # Lesson 00 · What does it take to name every pixel?
#
# Welcome. In this course you build SegFormer, a transformer that looks at a photograph and says for every single pixel what
# it belongs to. Each layer is written out, explained, and tested against code that nobody here wrote.
#
# In this lesson you see the whole model at work before you know how any of it works, because it is easier to take
# a clock apart once you have heard it tick.
#
# **After this lesson you will be able to**
#
# - say what semantic segmentation is, and what its output looks like in memory;
# - send a photograph through a SegFormer and name the shape of everything on the way;
# - tell what random weights know (nothing) from what the architecture brings with it (more than you may expect);
# - load published weights, where there is a network.
#
# **Time** {{core_minutes}} minutes for the core path, and {{further_minutes}} for the sections marked *further*. **You need** Python, and to have met a PyTorch tensor before. No GPU.
#
# If the next cell fails, choose the kernel of `.venv`, or start with `make lab`.

# %%
import numpy as np
import torch

from segformer_edu import SegFormer, SegFormerConfig, plots
from segformer_edu.data.photos import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    normalize,
    sample_labels,
    sample_photo,
)
from segformer_edu.data.scenes import scene
from segformer_edu.doctor import examine
from segformer_edu.exercises import compare

# %% [markdown]
# ## Is everything here?
#
# The doctor looks at what is installed, and times a model on your machine. If something is missing, the report says what to type.

# %% tags=["nbval-ignore-output"]
report, healthy = examine()
*_, speed, verdict = report.splitlines()
print(f"{speed}\n{verdict}" if healthy else report)

# %% [markdown]
# Your time differs from the one stored here. The other numbers of this lesson are the same on every machine.
#
# ## How do these lessons work?
#
# - **Predict.** Where you see this word, write what you expect in place of the `...` below it. The cell that gives the answer ends with `compare`, which prints your prediction above what came out (and nothing if you left the `...`). Even a wrong prediction helps, because people who try to
#   answer first remember the right answer better ([Richland, Kornell and Kao 2009](https://doi.org/10.1037/a0016496)).
# - **Core path.** A heading that ends in *further* marks a part that you can skip, and its cells need not be run. The rest, without the exercises, is the core path, at most 45 minutes a lesson.
#
# ## What is semantic segmentation?
#
# This is Eileen Collins, the first woman to command a Space Shuttle. NASA took the photograph, and it ships with scikit-image.

# %%
photo = sample_photo("astronaut")
plots.show(
    plots.photograph(photo),
    alt="A portrait of a smiling astronaut in an orange suit, her helmet in front of her, between "
    "an American flag and a model of the Space Shuttle.",
)

# %% [markdown]
# Three tasks could be set on it. *Classification* answers with one word for the whole picture, astronaut. *Detection* answers with boxes, a person here and
# a helmet there. *Semantic segmentation* answers at every pixel, and a pixel of her hair and a pixel of her sleeve both answer "person".
#
# If you had to colour this photograph in, with one colour for each kind of thing, how many kinds would you need, and which would cover most of it?

# %%
labels, names = sample_labels()
plots.show(
    plots.segmentation(photo, labels, names, "Every pixel has one class, and only one", 0.85),
    alt="The portrait, tinted in six flat colours with sharp borders: person, wall, helmet, flag, "
    "model shuttle and table. The legend gives the share of each, the person first.",
)

# %% [markdown]
# Here are six, and the person has the largest share.
#
# *Look at the borders.* The strip of wall between shoulder and table narrows to a single pixel.
# This is the answer that we would like to get, the *ground truth*. Such answers are expensive, because people have to draw them. Annotating and checking a single street scene of the Cityscapes data set took
# more than 1.5 hours on average ([Cordts and others 2016](https://arxiv.org/abs/1604.01685)).
#
# In memory there are no colours. A label map is an array of whole numbers, as tall and as wide as the photograph, and these are the numbers that the picture shows. Here is the small piece where the hair meets the wall.

# %%
print("photograph", photo.shape, photo.dtype)
print("labels    ", labels.shape, labels.dtype)
print(labels[60:66, 292:308])
print("4 is", names[4], "and 0 is", names[0])

# %% [markdown]
# So the task is **image in, one whole number a pixel out**. The astronaut is not counted, and two astronauts side by side would share one
# number. (Telling them apart is *instance* segmentation, another task.)
#
# ## What does a model make of it?
#
# A config says how many stages a SegFormer has, how wide they are and how deep. The paper publishes six, B0 to B5 (arXiv:2105.15203, Table 6). B0 is the smallest. (`eval()` ends what some layers do only in training.)

# %%
torch.manual_seed(0)
config = SegFormerConfig.named("b0", num_classes=150)
model = SegFormer(config).eval()
print(f"{sum(weight.numel() for weight in model.parameters()):,} parameters")

# %% [markdown]
# These are about {{b0_millions}} million numbers, nearly all of them drawn at random a moment ago. The {{b0_classes}} classes are those of the benchmark of ADE20K, a collection of everyday scenes in which everything is labelled ([Zhou and others 2016](https://arxiv.org/abs/1608.05442)).
#
# A network does not want bytes. So `normalize` turns the photograph into a batch of one, with the colour axis first, on a scale where the average photograph is
# near zero.

# %%
images = normalize(photo)
print("pixels", photo.min(), "to", photo.max())
print("images", tuple(images.shape), f"{images.min():.1f} to {images.max():.1f}")

# %% [markdown]
# The encoder works in four stages, and each hands on a map, a grid of *tokens*. Each token is a list of numbers, its *channels*, that stands for one patch of the photograph.
#
# **Predict.** The first stage has a grid of 128×128 tokens for this 512×512 photograph. Guess how many tokens a side the fourth has, and whether it has more channels or fewer. (`no_grad()` changes no number; it skips records that training needs.)

# %%
prediction = ...  # for example (64, "fewer")

# %%
with torch.no_grad():
    maps = model.encoder(images)
for stage, stage_map in enumerate(maps, start=1):
    channels, height, width = stage_map.shape[1:]
    print(f"stage {stage}: {height:>3} × {width:<3} tokens, {channels:>3} channels")
compare(prediction, (height, "more" if channels > maps[0].shape[1] else "fewer"))

# %% [markdown]
# From stage to stage the sides of the grid halve and the channels grow in number, so there are **fewer places, and more is said about each**. Each side of the last map is 1/32 of the photograph's, and
# each of its tokens has {{b0_last_channels}} numbers to say what is there.
#
# Below are the five channels of each stage that vary most over the picture, each on its own scale.

# %%
plots.show(
    plots.feature_maps(
        [stage_map[0].numpy() for stage_map in maps],
        finding="From stage to stage the maps get coarser",
    ),
    alt="Four rows of five heat maps. The astronaut has fine outlines in stage 1, is easy to "
    "recognise in stage 2, a blocky shape in stage 3, and a mosaic of large squares in stage 4.",
)

# %% [markdown]
# *Look at the helmet, row by row.* Its rim is a sharp crescent in stage 1 and a few squares in stage 4.
#
# These weights are random, and still you recognise her, because the first layers of this network are small filters slid over the picture, and a
# random filter is still a filter. It answers differently to dark and bright, to edges and to plain areas. So what you see is the *architecture*. Knowledge is yet to come.
#
# ## So what does it answer?
#
# The decoder takes the four maps, brings them to the size of the first, and gives each token a score for every class. These scores are called *logits*.
#
# **Predict.** The photograph has 512×512 pixels, and the model has {{b0_classes}} classes. What is the shape of the logits?

# %%
prediction = ...  # four numbers, for example (1, 3, 512, 512)

# %%
with torch.no_grad():
    logits = model(images)
print("logits", tuple(logits.shape))
predicted = model.predict(images)
print("labels", tuple(predicted.shape), predicted.dtype)
compare(prediction, tuple(logits.shape))

# %% [markdown]
# The logits come at a quarter of each side, one score for each class. `predict` does the rest. It enlarges the scores to the photograph's own size, and *then* takes the largest at each pixel.
# The order matters, and lesson 07 measures how much.

# %%
plots.show(
    plots.segmentation(
        photo,
        predicted[0].numpy(),
        finding="A model with random weights answers everywhere, but its answers mean nothing",
    ),
    alt="The portrait under a wild patchwork: large patches on wall and helmet, while hair, collar "
    "and flag are shattered into slivers. The legend has class numbers for names.",
)

# %% [markdown]
# *Compare it with the picture you began with.* Some patches follow the helmet or the wall, because places that look alike often get the same answer. But which answer is an accident.
#
# **The seed chooses it.** To see that, we ask whether a second model, which differs only in its random seed, agrees.

# %%
torch.manual_seed(1)
other = SegFormer(config).eval().predict(images)
print(f"pixels on which another random model agrees: {(predicted == other).float().mean():.0%}")

# %% [markdown]
# Two dice with {{b0_classes}} faces would agree about as often, in {{two_dice_agree}} of throws.
#
# So whenever a picture of a network's output looks meaningful, ask first *what random weights would have drawn*.
#
# ## And with weights that have learned?
#
# The authors published theirs, trained on ADE20K with this very config. With a network they are one line away (about {{b0_megabytes}} MB the first time, then kept on disk). Without one, the cell says so
# in a sentence and the lesson goes on. Nothing later depends on it.

# %% tags=["nbval-ignore-output"]
try:
    trained = SegFormer.from_pretrained("nvidia/segformer-b0-finetuned-ade-512-512").eval()
except ValueError as problem:
    print("No published weights this time:", problem)
else:
    figure = plots.segmentation(
        photo, trained.predict(images)[0].numpy(), trained.config.class_names
    )
    plots.show(figure, alt="The portrait, labelled by weights that have learned.")

# %% [markdown]
# ## What if you hand it the wrong thing?
#
# A common slip is to pass the photograph as it is, whole numbers with colour last. What will the model say?

# %%
try:
    print(tuple(model(torch.as_tensor(photo)).shape))
except ValueError as error:
    print(error)

# %% [markdown]
# Errors in this course say what was given, what is allowed, and what to do. Below a long traceback, read the last line first.
#
# **Try it.** Follow that advice in the cell above, run it again, and go on, message by message, until the model answers. It takes three steps, and `normalize` does all of them for you.
#
# ### Slips that raise no error · *further*
#
# Other slips only make the answers worse. To see by how much, we prepare 16 drawn street scenes in five ways for `nano`, a small SegFormer that ships with this course and was trained on such scenes.

# %%
nano = SegFormer.from_pretrained("nano").eval()
scenes = [scene(seed=707, size=128, index=index) for index in range(16)]
mean, std = (torch.tensor(each).view(3, 1, 1) for each in (IMAGENET_MEAN, IMAGENET_STD))
ways = {
    "as in its training": normalize,
    "blue first, as OpenCV reads files": lambda photo: normalize(photo[..., ::-1].copy()),
    "0 to 1, and not normalised": lambda photo: torch.as_tensor(photo).permute(2, 0, 1)[None] / 255,
    "0 to 255": lambda photo: torch.as_tensor(photo).permute(2, 0, 1)[None].float(),
    "normalised twice": lambda photo: (normalize(photo) - mean) / std,
}
for way, prepare in ways.items():
    right = [nano.predict(prepare(photo))[0].numpy() == truth for photo, truth in scenes]
    print(f"{np.mean(right):.1%} of the pixels right: {way}")

# %% [markdown]
# None of these slips raises an error, and even the last gets most pixels right, so you could take it for a poor model. Prepare photographs as they were prepared in training, and once.
#
# A mask *file* often holds class numbers and a palette, which lists a colour for each. So read it with `np.array(Image.open(file))`, because converting it to grey raises no error, but replaces each number by its colour's brightness.
#
# ## Where does each lesson fit?
#
# Here is the whole machine once more, with the lesson in which you build each part. Attention and Mix-FFN, each with a skip connection that adds its input back, make one *block*. The picture shows one, and every stage of B0 has {{b0_blocks_per_stage}} in a row. (Each branch also normalises its input, which the picture leaves out.)

# %%
plots.show(
    plots.course_map(photo, [stage_map[0].numpy() for stage_map in maps], labels),
    alt="A photograph enters the encoder (lesson 06), four stages of ever smaller and deeper maps. "
    "All four lead to the all-MLP decoder (07), which gives every pixel a class. Inside a stage: "
    "overlapping patches (01), then blocks of attention and its bill (02) with fewer keys (03), "
    "Mix-FFN (04), and skip connections around both (05). Below: start here (00), train it "
    "(08), look inside (09), make it fast (10), and test the paper's claims (11).",
)

# %% [markdown]
# *Follow the brown lines.* (What the words mean is for the lessons to say.) All four stages reach the decoder, so it can use the coarse ones to name a thing *and* the fine ones to place its edge. (The labels at the right
# are the ground truth, at which training aims.)
#
# The lessons follow the data, from patches (01) and attention (02, 03) by way of position (04) and depth (05) to the encoder (06) and the full model (07).
# After that the model is yours: you train it (08), you look inside (09), you find out where its time goes (10), and you test the paper's claims (11).
#
# ## Recap
#
# - Semantic segmentation gives each pixel one class: an image in, an array of whole numbers of the same height and width out.
# - The encoder makes four maps, from fine and narrow to coarse and wide. The decoder uses all four.
# - Logits come at a quarter of each side. Enlarge them first, then take the largest.
# - With random weights this network still draws pictures that you recognise. That says something about filters, and nothing about knowledge.
#
# **Can you answer without scrolling up?**
#
# 1. Two dogs stand side by side. Does semantic segmentation tell you that there are two?
# 2. What is the shape of the logits for a batch of two photographs, 256×512, with 19 classes?
# 3. Which stage can tell best *where* an edge is, and why?
# 4. Why can you recognise the astronaut in the features of a model that has learned nothing?
# 5. `predict` resizes, then takes the largest score. What would borders look like the other way round?
#
# <details><summary>Answers</summary>
#
# 1. No. Both are "dog", and telling them apart is instance segmentation.
# 2. `(2, 19, 64, 128)`: batch, classes, and a quarter of each side.
# 3. The first, because its tokens stand four pixels apart, and those of the last stage thirty-two.
# 4. Its first layers are filters slid over the picture. Even random ones answer to brightness and edges, in place.
# 5. Like stairs, because each label of the coarse map would become a block of four by four pixels.
#
# </details>
#
# ## Where paper, code and posts differ · *further*
#
# - *Patches of 4×4.* The paper's overview says that the image is cut into patches of 4×4 (Section 3). The model it describes later, and the released weights, use patches of 7×7 that stand four pixels apart (Section 3.1). Lesson 01 shows
#   what the overlap does.
# - *The size of the answer.* The paper's mask is H/4 × W/4 (eq. 4), and transformers returns those logits as they are. So what it returns is not yet a segmentation: the resize and the choice are missing.
# - *Which class is zero.* The files of ADE20K's benchmark use 0 for "none of these" and begin its classes at 1, and the published weights begin at 0. So labels go down by one ([`do_reduce_labels`](https://huggingface.co/docs/transformers/model_doc/segformer) in transformers). 0 becomes `255`, which is no class, and which training ignores. (A model learns "background" like any other class.)
#   Done to labels that begin at 0, lowering deletes a class and renames all others.
#
# **References.** E. Xie, W. Wang, Z. Yu, A. Anandkumar, J. M. Alvarez and P. Luo, *SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers*, [arXiv:2105.15203](https://arxiv.org/abs/2105.15203): Figure 2
# is the architecture, Section 3.1 the encoder, Section 3.2 the decoder, Table 6 the six sizes. Photograph: NASA, public domain, by way of [scikit-image](https://scikit-image.org/docs/stable/api/skimage.data.html).
#
# **Next:** lesson 01, where a photograph becomes tokens.
