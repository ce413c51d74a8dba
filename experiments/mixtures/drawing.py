"""The pictures of GANs on a mixture: a row of planes for each system, an animation, and what their colours mean."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from gan_jax import plane
from gan_jax.storage import replacing

SIZE = 200  # pixels of a picture in the sheet, along each axis
FRAME_SIZE = 240  # in the animation
FONT = 14
LINE = 22  # pixels, the height of a line of text
GAP = 6  # between pictures
MARGIN = 12  # around all of it
COLOURS = 128  # of what is written: gradients of more take several times the bytes

Planes = Mapping[int, Image.Image]  # pictures of the plane, by step
Mark = Callable[
    [ImageDraw.ImageDraw, float, float], object
]  # draws what a word of the legend means, around (x, y)


def sheet(planes: Mapping[str, Planes], captions: Mapping[str, str], steps: Sequence[int]) -> Image.Image:
    """A row of pictures for each system below its caption, a column for each step, and the legend at the top."""
    width = 2 * MARGIN + len(steps) * (SIZE + GAP) - GAP
    legend = legend_of(width)
    row_height = LINE + SIZE + GAP
    drawn = Image.new("RGB", (width, legend.height + LINE + len(planes) * row_height + MARGIN), "white")
    drawn.paste(legend)
    columns = [MARGIN + i * (SIZE + GAP) for i in range(len(steps))]
    for x, step in zip(columns, steps, strict=True):
        write_text(drawn, x + SIZE / 2, legend.height + LINE / 2, f"step {step:,}", anchor="mm")
    for row, (system, of_system) in enumerate(planes.items()):
        top = legend.height + LINE + row * row_height
        write_text(drawn, MARGIN, top + LINE / 2, captions[system])
        for x, step in zip(columns, steps, strict=True):
            drawn.paste(scaled(of_system[step], SIZE), (x, top + LINE))
    return drawn.quantize(COLOURS)


def animation(planes: Mapping[str, Planes], path: Path) -> None:
    """The systems side by side over the steps of the run, as a GIF."""
    width = 2 * MARGIN + len(planes) * (FRAME_SIZE + GAP) - GAP
    legend = legend_of(width)
    frames = []
    for step in next(iter(planes.values())):
        frame = Image.new("RGB", (width, legend.height + LINE + FRAME_SIZE + MARGIN), "white")
        frame.paste(legend)
        for i, (system, of_system) in enumerate(planes.items()):
            x = MARGIN + i * (FRAME_SIZE + GAP)
            write_text(frame, x, legend.height + LINE / 2, f"{system}, step {step:,}")
            frame.paste(scaled(of_system[step], FRAME_SIZE), (x, legend.height + LINE))
        frames.append(frame)
    # The same colours in all frames, so that the legend's stay. Without dithering, whose noise takes bytes.
    palette = _stacked(frames[:: max(1, len(frames) // 8)]).quantize(COLOURS // 2)
    frames = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    times = [120] * (len(frames) - 1) + [2500]
    with replacing(path) as new:
        frames[0].save(new, "GIF", save_all=True, append_images=frames[1:], duration=times, loop=0)


def _stacked(frames: Sequence[Image.Image]) -> Image.Image:
    """Frames of one size as one picture."""
    width, height = frames[0].size
    drawn = Image.new("RGB", (width, height * len(frames)))
    for i, frame in enumerate(frames):
        drawn.paste(frame, (0, i * height))
    return drawn


def legend_of(width: int) -> Image.Image:
    """What the pictures show, in as many lines of that width as it takes."""
    font, mark_width = ImageFont.load_default(FONT), 20
    places, x, line = [], MARGIN, 0
    for words in LEGEND:
        entry = mark_width + round(font.getlength(words))
        if x > MARGIN and x + entry > width - MARGIN:
            x, line = MARGIN, line + 1
        places.append((x, line))
        x += entry + 2 * GAP
    drawn = Image.new("RGB", (width, MARGIN + (line + 1) * LINE), "white")
    pen = ImageDraw.Draw(drawn)
    for (words, mark), (x, line) in zip(LEGEND.items(), places, strict=True):
        middle = MARGIN + line * LINE + LINE / 2
        mark(pen, x + 6, middle)
        write_text(drawn, x + mark_width, middle, words)
    return drawn


def _dot(pen: ImageDraw.ImageDraw, x: float, y: float) -> None:
    pen.ellipse((x - 2, y - 2, x + 2, y + 2), fill=plane.BLACK)


def _circle(pen: ImageDraw.ImageDraw, x: float, y: float) -> None:
    pen.ellipse((x - 5, y - 5, x + 5, y + 5), outline=plane.MODE, width=2)


def _square(level: int) -> Mark:
    """A patch of one of the colours of D's score."""
    colour = tuple(int(x) for x in plane.COLOURS[level])
    return lambda pen, x, y: pen.rectangle((x - 6, y - 6, x + 6, y + 6), fill=colour, outline=(200, 200, 200))


LEGEND: dict[str, Mark] = {
    "generated point": _dot,
    "mode of the data, out to 3 standard deviations": _circle,
    "D takes it for real": _square(2),
    "for generated": _square(0),
    "cannot tell": _square(1),
}


def scaled(picture: Image.Image, size: int) -> Image.Image:
    """The picture, smaller."""
    return picture.resize((size, size), Image.Resampling.LANCZOS)


def write_text(drawn: Image.Image, x: float, y: float, text: str, anchor: str = "lm") -> None:
    """One line of text, with its middle at the height y."""
    ImageDraw.Draw(drawn).text((x, y), text, fill="black", font=ImageFont.load_default(FONT), anchor=anchor)
