"""Broken engines: each defect that the oracle must catch, where, and within how many turns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from simulation import defects, host_defects
from simulation.play import play
from simulation.worlds import World, world_of
from support.saboteurs import items_counted

Patch = pytest.MonkeyPatch
Breaking = Callable[[Patch], None]


@dataclass(frozen=True)
class Saboteur:
    """One defect.

    Attributes:
        name: What it does.
        law: The law that it breaks first of all, or the number of the warning, as ``w1``.
        breaks: Breaks the engine.
        worlds: The kinds of worlds that are played; all kinds if it is empty.
        habit: The habit that the host of such a world must have; empty if it needs none.
        turns: Within how many turns it must be caught.
    """

    name: str
    law: str
    breaks: Breaking
    worlds: tuple[str, ...] = ()
    habit: str = ""
    turns: int = 2000

    def can_do_harm_in(self, world: World) -> bool:
        """Whether a world plays what it breaks."""
        is_habit = not self.habit or self.habit in world.habits
        return is_habit and (not self.worlds or world.kind in self.worlds)

    @contextmanager
    def broken(self) -> Iterator[None]:
        """Break all engines for a while."""
        with pytest.MonkeyPatch.context() as patch:
            self.breaks(patch)
            yield


@dataclass(frozen=True)
class Caught:
    """How a defect was caught.

    Attributes:
        name: The defect.
        turns: How many turns had been played.
        seed: The seed of the round.
        what: The law that was found broken.
    """

    name: str
    turns: int
    seed: int
    what: str


def catch(saboteur: Saboteur, turns: int, first: int = 0) -> Caught | None:
    """Play rounds with a defect until it is caught; None if it survives.

    Args:
        saboteur: The defect.
        turns: After how many turns to stop searching.
        first: The seed of the first round.
    """
    played, seed = 0, first
    with saboteur.broken():
        while played < turns:
            world, _ = world_of(seed)
            if not saboteur.can_do_harm_in(world):
                seed += 1
                continue
            outcome = play(seed)
            played += outcome.turns
            if outcome.violation is not None:
                return Caught(saboteur.name, played, seed, str(outcome.violation))
            seed += 1
    return None


_ALL: tuple[tuple[str, str, Breaking], ...] = (
    ("counts items instead of comparing them", "1", items_counted),
    ("sends answers again that were continued", "1", defects.forgets_output),
    ("puts hidden items back in the wrong place", "1", defects.misplaces_hidden_items),
    ("continues nothing", "2", defects.continues_nothing),
    ("has two lanes for each conversation", "2", defects.has_two_lanes),
    ("continues on the parent's own lane", "2", defects.takes_the_parents_lane),
    ("evicts when it is only asked", "2, w10", defects.evicts_when_asked),
    ("replays after words were emitted", "3", defects.replays),
    ("counts words as emitted when they are pulled", "3, w3", defects.counts_what_is_pulled),
    ("speaks the final text again", "3, w11", defects.speaks_the_final_text_again),
    ("loses what only an item's end tells", "3", defects.loses_a_word),
    ("takes late frames for the next answer", "3, w11", defects.takes_late_frames),
    ("calls an answer complete that lacks its end", "3, w2", defects.calls_it_complete),
    ("loses calls that are held", "3, w2", defects.loses_held_calls),
    ("never times out", "4", defects.never_times_out),
    ("lets callers wait for their first word", "4", defects.lets_callers_wait),
    ("is not woken again", "4, w9", defects.is_not_woken_again),
    ("wakes again and again", "4, w9", defects.wakes_again_and_again),
    ("leaks deadlines", "4, w9", defects.leaks_deadlines),
    ("cancels another turn", "5", defects.cancels_another),
    ("fails all together", "5", defects.fails_together),
    ("forgets to book the cancelled", "6", defects.forgets_to_book_the_cancelled),
    ("books twice", "6", defects.books_twice),
    ("books the cancelled without usage", "6", defects.books_without_usage),
    ("books early on an error without a lane", "6, w1", defects.books_early),
    ("recognises by words", "7", defects.recognises_by_words),
    ("shares anchors", "7", defects.shares_anchors),
    ("dies of one frame", "7", defects.dies_of_a_frame),
    ("ignores blocked writes", "7, w6", defects.ignores_blocked_writes),
    ("trusts records", "7, w7", defects.trusts_records),
    ("trusts recorded items", "7", defects.trusts_recorded_items),
    ("trusts decoders", "7, w7", defects.trusts_decoders),
    ("speaks to the first of a connection", "7", defects.speaks_to_the_first),
    ("repeats what was refused", "8", defects.repeats_what_was_refused),
    ("resends without end", "8", defects.resends_without_end),
    ("does not wait as asked", "8", defects.does_not_wait),
    ("leaks waiting counts", "w5", defects.leaks_waiting_counts),
    ("launches in the middle of a fact", "w4", defects.launches_in_the_middle),
    ("recovers what is cancelled", "5", defects.recovers_what_is_cancelled),
    ("never pauses before it is sent", "4", defects.never_pauses_before_it_is_sent),
    ("crowds a prompt's connection", "2", defects.crowds_a_prompts_connection),
    ("leaks actions into the next fact", "w8", defects.leaks_actions),
    ("forgets what was refused", "8", defects.forgets_what_was_refused),
    ("does not share a rate limit's wait", "8", defects.waits_alone),
    ("goes on after an error without a lane", "7", defects.goes_on_after_an_error_without_lane),
    ("counts writing against the answer", "5", defects.counts_writing_against_the_answer),
    ("writes large requests among others", "7", defects.shares_large_frames),
    ("leaves the queue asleep", "4", defects.leaves_the_queue_asleep),
    ("keeps unusable connections", "4", defects.keeps_unusable_connections),
    ("waits for cut answers that are silent", "4", defects.waits_for_silent_drains),
    ("blames the host for a mute connection", "7", defects.blames_the_host_for_a_mute_connection),
    ("trusts a host with parents", "1", defects.trusts_parents),
    ("asks for ignored parents again", "8", defects.asks_for_parents_again),
    ("runs the calls of a cut answer", "3", host_defects.runs_the_calls_of_a_cut_answer),
    ("ends only with its own id", "3", host_defects.ends_only_with_its_own_id),
    ("ignores text that only the last event has", "3", host_defects.ignores_text_at_the_end),
    ("ignores calls that only the last event has", "3", host_defects.ignores_calls_at_the_end),
    ("ignores final arguments", "3", host_defects.ignores_final_arguments),
    ("ends all on an error without a lane", "7", host_defects.ends_all_on_an_error_without_lane),
    ("believes a stray answer without a lane", "7", host_defects.believes_a_stray_created),
    ("gives up frames that are not strict JSON", "7", host_defects.gives_up_odd_frames),
    ("breaks characters that come in halves", "3", host_defects.breaks_characters),
    ("hears repeated frames", "3", host_defects.hears_repeated_frames),
    ("speaks text after its item", "3", host_defects.speaks_text_after_its_item),
    ("takes reused ids for late ones", "3", host_defects.takes_reused_ids_for_late_ones),
    ("books impossible counts", "6", host_defects.books_impossible_counts),
    ("runs the calls of a cut completion", "3", host_defects.runs_the_calls_of_a_cut_completion),
    ("believes an early finish", "3", host_defects.believes_an_early_finish),
    ("ends at an early finish", "3", host_defects.ends_at_an_early_finish),
    ("waits for a finish reason", "3", host_defects.waits_for_a_finish_reason),
    ("waits for the last line", "4", host_defects.waits_for_the_last_line),
    ("gives a call's pieces to the latest call", "3", host_defects.splits_calls_in_turns),
    ("carries what an equal call had", "1", host_defects.carries_what_an_equal_call_had),
    ("carries a host's fields for all", "7", host_defects.carries_for_all),
    ("wakes no queue at a doubt's end", "4", defects.leaves_the_queue_asleep_at_a_doubts_end),
    ("wakes no queue after a large write", "4", defects.leaves_the_queue_asleep_after_a_write),
    ("wakes no queue when a connection opens", "4", defects.leaves_the_queue_asleep_at_an_opening),
    ("serves one of the queue at a time", "4", defects.serves_one_of_the_queue),
    ("evicts past no full connection", "4", defects.evicts_past_no_full_connection),
    ("shares no connection at the limit", "4", defects.shares_no_connection),
    ("sends on a doubted connection", "7", defects.trusts_a_doubted_connection),
    ("never ends a doubt", "2", defects.never_ends_a_doubt),
    ("blames a connection at a turn's end", "5", defects.blames_a_connection_at_a_turns_end),
    ("blames the host for a queue", "5", defects.blames_the_host_for_a_queue),
    ("counts a queue against HTTP", "5", defects.counts_a_queue_against_http),
    ("leaves open connections for HTTP", "2", defects.leaves_open_connections_for_http),
    ("asks again for a missing WebSocket", "8", defects.asks_again_for_a_websocket),
    ("opens a connection that must fail", "8", defects.opens_what_must_fail),
    ("forgets that there is no HTTP", "8", defects.forgets_that_there_is_no_http),
    ("tells that there is no HTTP", "8", defects.tells_that_there_is_no_http),
    ("knows items by their keys", "1", defects.knows_items_by_their_keys),
    ("knows pictures by their words", "1", defects.knows_pictures_by_their_words),
    ("keeps a tool's first description", "1", defects.keeps_a_tools_first_description),
    (
        "takes a renamed parent for an ignored one",
        "5",
        host_defects.takes_a_renamed_parent_for_an_ignored_one,
    ),
    ("trusts ids of several responses", "7", host_defects.trusts_ids_of_several_responses),
    ("keeps a response's first id", "1", host_defects.keeps_the_first_id),
    ("knows items by id alone", "3", host_defects.knows_items_by_id_alone),
    ("breaks characters in arguments", "3", host_defects.breaks_characters_in_arguments),
    ("loses half a character at an end", "3", host_defects.loses_half_a_character_at_an_end),
    ("believes an empty output", "3", host_defects.believes_an_empty_output),
    ("runs messages together", "3", host_defects.runs_messages_together),
    ("reads pieces as lines", "3", host_defects.reads_pieces_as_lines),
    (
        "takes a refused preparation for refused lanes",
        "2",
        host_defects.takes_a_refused_preparation_for_refused_lanes,
    ),
    ("stops at a library's limit", "5", defects.stops_at_a_librarys_limit),
    ("breaks characters in chunks", "3", host_defects.breaks_characters_in_chunks),
    (
        "breaks characters in pieces of calls",
        "3",
        host_defects.breaks_characters_in_pieces_of_calls,
    ),
    ("trusts words after a close", "7", defects.trusts_words_after_a_close),
    ("ends an ignored parent twice", "6", defects.ends_an_ignored_parent_twice),
    ("waits for another model's rate limit", "8", defects.waits_for_another_models_limit),
    ("waits for other clients' rate limits", "8", defects.waits_for_the_limits_of_other_clients),
    ("counts a queue against a connection", "5", defects.counts_a_queue_against_a_connection),
    ("goes on after a first error", "7", defects.goes_on_after_a_first_error),
    ("mixes up headers of callers", "7", defects.mixes_up_headers),
    ("takes other headers for another call", "2", defects.takes_other_headers_for_another_call),
    ("fails on deeply nested arguments", "7", defects.fails_on_deep_arguments),
    ("reads no wait that is a date", "8", defects.reads_no_date),
    ("traces no end of what drained", "trace", defects.traces_no_drained_end),
    ("traces each delta as the first word", "trace", defects.traces_each_delta),
    ("traces the end of a turn twice", "trace", defects.traces_the_end_twice),
)

_SEEN_IN: dict[str, tuple[str, ...]] = {
    "takes late frames for the next answer": ("laneless",),
    "takes reused ids for late ones": ("storm", "shared", "slow line"),
    "runs the calls of a cut answer": ("failing", "http"),
    "runs the calls of a cut completion": ("chat",),
    "believes an early finish": ("chat",),
    "ends at an early finish": ("chat",),
    "waits for a finish reason": ("chat",),
    "waits for the last line": ("chat",),
    "gives a call's pieces to the latest call": ("chat",),
    "carries what an equal call had": ("chat",),
    "carries a host's fields for all": ("chat",),
    "wakes no queue at a doubt's end": ("doubting",),
    "sends on a doubted connection": ("doubting",),
    "never ends a doubt": ("doubting",),
    "wakes no queue after a large write": ("slow line",),
    "wakes no queue when a connection opens": ("reopening",),
    "serves one of the queue at a time": ("capped",),
    "evicts past no full connection": ("full",),
    "shares no connection at the limit": ("capped",),
    "blames a connection at a turn's end": ("hurried",),
    "blames the host for a queue": ("capped", "doubting"),
    "counts a queue against HTTP": ("falling",),
    "leaves open connections for HTTP": ("partly open",),
    "asks again for a missing WebSocket": ("partly open",),
    "opens a connection that must fail": ("partly open",),
    "forgets that there is no HTTP": ("falling",),
    "tells that there is no HTTP": ("falling",),
    "goes on after a first error": ("reopening",),
    "mixes up headers of callers": ("http", "falling"),
    "takes other headers for another call": ("http",),
    "takes a renamed parent for an ignored one": ("pretending",),
    "reads pieces as lines": ("http", "chat"),
    "stops at a library's limit": ("crowd",),
    "breaks characters in chunks": ("chat",),
    "breaks characters in pieces of calls": ("chat",),
    "trusts words after a close": ("closing",),
    "ends an ignored parent twice": ("http",),
    "trusts ids of several responses": ("http",),
    "waits for other clients' rate limits": ("storm",),
    "waits for another model's rate limit": ("storm", "failing"),
    "resends without end": ("failing",),
    "counts a queue against a connection": ("capped",),
    "shares anchors": ("twins", "storm"),
    "knows pictures by their words": ("twins",),
    "forgets what was refused": ("failing",),
    "books early on an error without a lane": ("shared",),
    "goes on after an error without a lane": ("shared",),
    "believes a stray answer without a lane": ("shared", "crowd"),
    "blames the host for a mute connection": ("falling",),
    "trusts a host with parents": ("http", "pretending"),
    "asks for ignored parents again": ("http", "pretending"),
    "writes large requests among others": ("uploads",),
    "counts writing against the answer": ("uploads",),
    "trusts recorded items": ("storm", "laneless", "pretending"),
    "leaves the queue asleep": ("capped",),
    "keeps unusable connections": ("capped",),
    "waits for cut answers that are silent": ("capped",),
}
"""The worlds in which a rare defect can do harm, where most worlds do not play what it breaks."""

_HABITS = {
    "takes reused ids for late ones": "restarting ids",
    "breaks characters in arguments": "halves of characters",
    "ignores final arguments": "calls at the end",
    "books impossible counts": "odd usage",
    "fails on deeply nested arguments": "deep arguments",
    "ends at an early finish": "early finish",
}
"""The habits of hosts that rare defects need."""

SABOTEURS = {
    name: Saboteur(name, law, breaks, _SEEN_IN.get(name, ()), _HABITS.get(name, ""))
    for name, law, breaks in _ALL
}
"""All defects by name."""
