"""Pictures as URLs: encoded once each, off the event loop, and cached while they exist."""

import asyncio
import logging
import weakref
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Generic, Protocol, TypeVar

from rtllm.content.items import Image, Item, Message, Text

logger = logging.getLogger(__name__)

KEPT = 8 * 2**20
"""Characters of URLs that are cached for later requests, which send a picture again."""

_NO_URL_YET = "data:,"

_SAMPLES = 256
_SAMPLE = 64  # bytes

Source = TypeVar("Source")


class ImageSource(Protocol[Source]):
    """Access to a framework's picture objects."""

    def frame(self, source: Source) -> object:
        """Return the object that holds the pixels."""

    def options(self, source: Source) -> Hashable:
        """Return the other settings of its encoding; equal values encode equally."""

    def planes(self, source: Source) -> Iterable[Any]:
        """Yield the pixels, as buffers."""

    def copy(self, source: Source) -> Source:
        """Copy the picture, so that later changes of the framework's object don't affect it."""

    def encode(self, source: Source) -> str:
        """Encode it as a URL, ``data:`` or https; called in a thread, with a copy.

        Exceptions are logged, and the picture is left out.
        """


@dataclass(slots=True)
class _Known:
    """A picture with a known URL: its object, referenced weakly, and what it showed then."""

    holder: weakref.ref[Any]
    frame: int
    options: Hashable
    pixels: bytes
    url: str | None


@dataclass(frozen=True, slots=True)
class NewImage(Generic[Source]):
    """A picture that is not encoded yet."""

    holder: weakref.ref[Source]
    copy: Source
    frame: int
    options: Hashable
    pixels: bytes


class ImageCache(Generic[Source]):
    """Provides the URLs of a framework's picture objects.

    A URL is cached for exactly the object that it was made from, which is referenced weakly. When
    the object is gone, so is the URL, and no raw picture is kept alive. If the pixels of an object
    were overwritten in place, it is encoded again. Samples of the pixels decide this, which takes
    well under a millisecond; a change of a few pixels between the samples is missed. In LiveKit a
    new picture is a new object, so nothing is missed there.

    Frames of a ring buffer may be in a context several times, each time in a new object. The newest
    one shows what the frame contains now; the earlier ones keep what they showed.

    Args:
        kind: Access to the picture objects.
        kept: How many characters of URLs are cached, not counting those of the latest request.
    """

    def __init__(self, kind: ImageSource[Source], kept: int = KEPT) -> None:
        self._kind = kind
        self._limit = kept
        self._known: dict[int, _Known] = {}

    def __len__(self) -> int:
        return len(self._known)

    def __repr__(self) -> str:
        return f"ImageCache({len(self)} images)"

    def place(self, items: Sequence[Item], sources: Sequence[Source]) -> "PlacedImages[Source]":
        """Put pictures into a context; those that are not encoded yet are copied at once.

        Args:
            items: The context, where each of these pictures is an `Image` with an empty URL.
            sources: The framework's objects, in order, so oldest first.
        """
        return PlacedImages(self, items, self.take(sources))

    def take(self, sources: Sequence[Source]) -> list[str | NewImage[Source] | None]:
        """Copy pictures that are not encoded yet, at once.

        Args:
            sources: The framework's objects, oldest first.

        Returns:
            For each picture its URL; None if it can't be encoded; or, if its URL isn't known yet, a
            copy for `encode`.
        """
        kind, taken = self._kind, list[str | NewImage[Source] | None]()
        newest = {id(kind.frame(source)): source for source in sources}
        new: dict[int, NewImage[Source]] = {}
        for source in sources:
            frame, options = id(kind.frame(source)), kind.options(source)
            known = self._of(source, frame, options)
            if known is not None and newest[frame] is not source:
                taken.append(known.url)
                continue
            pixels = self._sampled(source)
            if known is not None and known.pixels == pixels:
                taken.append(known.url)
                continue
            if id(source) not in new:
                new[id(source)] = NewImage(
                    weakref.ref(source), kind.copy(source), frame, options, pixels
                )
            taken.append(new[id(source)])
        return taken

    def _of(self, source: Source, frame: int, options: Hashable) -> _Known | None:
        """Return what is known about exactly this object, with this frame and these options."""
        known = self._known.pop(id(source), None)
        if known is None or known.holder() is not source:
            return None
        if (known.frame, known.options) != (frame, options):
            return None
        self._known[id(source)] = known  # most recently used
        return known

    async def encode(self, taken: Sequence[str | NewImage[Source] | None]) -> list[str | None]:
        """Encode the pictures that `take` copied; return all URLs in order.

        It waits only if a picture is new.

        Returns:
            The URLs; None for pictures that can't be encoded.
        """
        new = list({id(one): one for one in taken if isinstance(one, NewImage)}.values())
        urls: dict[int, str | None] = {}
        if new:
            made = await asyncio.to_thread(lambda: [self._encoded(one.copy) for one in new])
            for one, url in zip(new, made, strict=True):
                urls[id(one)] = url
                self._keep(one, url)
        found = [urls[id(one)] if isinstance(one, NewImage) else one for one in taken]
        self._drop_surplus({url for url in found if url})
        return found

    def clear(self) -> None:
        """Forget all URLs."""
        self._known.clear()

    def _keep(self, new: NewImage[Source], url: str | None) -> None:
        """Cache a URL while its object exists, as the most recently used."""
        source = new.holder()
        if source is None:
            return
        me, number = weakref.ref(self), id(source)

        def dead(ref: weakref.ref[Source]) -> None:  # in any thread, at any time
            pictures = me()
            known = pictures._known.get(number) if pictures is not None else None
            if pictures is not None and known is not None and known.holder is ref:
                pictures._known.pop(number, None)

        self._known.pop(number, None)
        holder = weakref.ref(source, dead)
        self._known[number] = _Known(holder, new.frame, new.options, new.pixels, url)

    def _drop_surplus(self, needed: set[str]) -> None:
        """Enforce the limit, the longest unused first; URLs that were just requested stay."""
        entries = list(self._known.items())
        size = sum(len(known.url or "") for _, known in entries)
        for number, known in entries:
            if size <= self._limit:
                return
            if known.url and known.url not in needed:
                self._known.pop(number, None)
                size -= len(known.url)

    def _sampled(self, source: Source) -> bytes:
        digest = blake2b(digest_size=16)
        try:
            for plane in self._kind.planes(source):
                view = memoryview(plane).cast("B")
                if len(view) <= _SAMPLES * _SAMPLE:
                    digest.update(view)
                    continue
                last = len(view) - _SAMPLE
                starts = (last * n // (_SAMPLES - 1) for n in range(_SAMPLES))
                digest.update(b"".join(view[start : start + _SAMPLE] for start in starts))
        except Exception:  # noqa: BLE001 - a picture without readable pixels; encoding tells why
            logger.debug("the pixels of a picture could not be read")
        return digest.digest()

    def _encoded(self, source: Source) -> str | None:
        try:
            return self._kind.encode(source)
        except Exception as error:  # noqa: BLE001 - whatever an encoder raises
            logger.warning("a picture could not be encoded and is not sent: %s", error)
            return None


class PlacedImages(Generic[Source]):
    """A context with pictures that may not be encoded yet; see `ImageCache.place`.

    Attributes:
        items: The context. Pictures that are not encoded yet have a placeholder as their URL.
        is_complete: Whether all are encoded, so that `encode` need not be called.
    """

    def __init__(
        self,
        cache: ImageCache[Source],
        items: Sequence[Item],
        taken: Sequence[str | NewImage[Source] | None],
    ) -> None:
        self._cache = cache
        self._given = items
        self._taken = taken
        self.is_complete = not any(isinstance(one, NewImage) for one in taken)
        urls = [_NO_URL_YET if isinstance(one, NewImage) else one for one in taken]
        self.items = resolve_images(items, urls)

    async def encode(self) -> tuple[Item, ...]:
        """Return the context with the URLs of all pictures; it waits only if one is new."""
        if not self.is_complete:
            self.items = resolve_images(self._given, await self._cache.encode(self._taken))
            self.is_complete = True
        return self.items


def resolve_images(items: Sequence[Item], urls: Sequence[str | None]) -> tuple[Item, ...]:
    """Set the URLs of pictures that have none yet, in order.

    Args:
        items: A context; a picture without a URL has an empty one.
        urls: A URL for each of these; None to leave the picture out.
    """
    if not urls:
        return tuple(items)
    left = iter(urls)

    def addressed(part: Text | Image) -> Text | Image:
        if isinstance(part, Image) and not part.url:
            return replace(part, url=next(left) or "")
        return part

    made: list[Item] = []
    for item in items:
        if isinstance(item, Message) and item.has_images:
            parts = [addressed(part) for part in item.parts]
            seen = tuple(p for p in parts if isinstance(p, Text) or p.url)
            made.append(replace(item, parts=seen))
        else:
            made.append(item)
    return tuple(made)
