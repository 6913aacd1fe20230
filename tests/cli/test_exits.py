"""Exit codes: every end has one, and every command's help lists those that tests have seen it give, and no others."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.support.processes import run
from triolight import DisconnectCode, DisconnectReason, Side
from triolight.cli import cli
from triolight.cli.exits import ENDS, MEANINGS, Exit, exit_of
from triolight.cli.group import COMMANDS
from triolight.reasons import Kind

LSPS: Mapping[Exit, str] = {
    Exit.OK: "test_lsps.test_what_a_provider_says",
    Exit.FAILED: "test_lsps.test_exit_code_1_where_it_says_no",
    Exit.USAGE: "test_lsps.test_exit_code_2_for_what_is_no_call",
    Exit.CONNECT: "test_lsps.test_exit_codes_3_and_4_for_who_is_not_there",
    Exit.HANDSHAKE: "test_lsps.test_exit_codes_3_and_4_for_who_is_not_there",
    Exit.PROTOCOL: "test_lsps.test_exit_code_5_for_what_is_no_answer_and_for_who_hangs_up",
    Exit.TIMEOUT: "test_lsps.test_exit_code_6_where_nothing_comes",
    Exit.HUNG_UP: "test_lsps.test_a_signal_ends_the_waiting",
    Exit.INTERRUPTED: "test_lsps.test_a_signal_ends_the_waiting",
    Exit.BROKEN_PIPE: "test_lsps.test_exit_code_141_for_a_reader_that_has_left",
    Exit.TERMINATED: "test_lsps.test_a_signal_ends_the_waiting",
}
SHOWN: Mapping[str, Mapping[Exit, str]] = {
    "ping": {
        Exit.OK: "test_ping.test_ping_in_words",
        Exit.USAGE: "test_options.test_exit_code_2",
        Exit.CONNECT: "test_ping.test_exit_code_3_when_nobody_listens",
        Exit.HANDSHAKE: "test_ping.test_exit_code_4_for_another_node",
        Exit.PROTOCOL: "test_ping.test_exit_code_5_for_an_init_that_is_refused",
        Exit.TIMEOUT: "test_ping.test_exit_code_6_for_silence",
        Exit.HUNG_UP: "test_ping.test_interrupting_ping_says_goodbye",
        Exit.INTERRUPTED: "test_ping.test_interrupting_ping_says_goodbye",
        Exit.BROKEN_PIPE: "test_ping.test_a_reader_that_leaves_ends_ping_quietly",
        Exit.TERMINATED: "test_ping.test_interrupting_ping_says_goodbye",
    },
    "listen": {
        Exit.USAGE: "test_options.test_exit_code_2_for_the_command_line",
        Exit.CONNECT: "test_listen.test_exit_code_3_for_a_port_that_is_taken",
        Exit.HUNG_UP: "test_listen.test_interrupting_listen_says_goodbye",
        Exit.INTERRUPTED: "test_listen.test_interrupting_listen_says_goodbye",
        Exit.BROKEN_PIPE: "test_listen.test_a_reader_that_leaves_ends_listen_quietly",
        Exit.TERMINATED: "test_listen.test_interrupting_listen_says_goodbye",
    },
    "top": {
        Exit.OK: "test_top.test_top_once",
        Exit.USAGE: "test_options.test_usage",
        Exit.CONNECT: "test_top.test_top_once",
        Exit.HUNG_UP: "test_top.test_top_lives_until_a_signal",
        Exit.INTERRUPTED: "test_top.test_top_lives_until_a_signal",
        Exit.BROKEN_PIPE: "test_top.test_a_reader_that_leaves_ends_top_quietly",
        Exit.TERMINATED: "test_top.test_top_lives_until_a_signal",
    },
    "check": {
        Exit.OK: "test_check.test_the_command",
        Exit.USAGE: "test_options.test_exit_code_2_for_the_command_line",
        Exit.CONNECT: "test_running.test_exit_code_3_for_an_onion_without_a_proxy",
        Exit.HANDSHAKE: "test_check.test_exit_code_4_for_another_node",
        Exit.PROTOCOL: "test_check.test_the_command_says_when_a_rule_is_broken",
        Exit.TIMEOUT: "test_check.test_exit_code_6_for_silence",
        Exit.HUNG_UP: "test_check.test_interrupting_check",
        Exit.INTERRUPTED: "test_check.test_interrupting_check",
        Exit.BROKEN_PIPE: "test_check.test_output_that_nobody_takes_is_no_node_that_cannot_be_reached",
        Exit.TERMINATED: "test_check.test_interrupting_check",
    },
    "demo": {
        Exit.OK: "test_demo.test_demo",
        Exit.FAILED: "test_demo.test_demo_says_what_did_not_happen",
        Exit.USAGE: "test_group.test_output_that_cannot_be_written",
        Exit.HUNG_UP: "test_demo.test_interrupting_the_demo",
        Exit.INTERRUPTED: "test_demo.test_interrupting_the_demo",
        Exit.BROKEN_PIPE: "test_demo.test_a_reader_that_leaves_ends_the_demo_quietly",
        Exit.TERMINATED: "test_demo.test_interrupting_the_demo",
    },
    "keygen": {
        Exit.OK: "test_keys.test_keygen_makes_a_private_file_and_never_overwrites",
        Exit.USAGE: "test_keys.test_keygen_makes_a_private_file_and_never_overwrites",
        Exit.HUNG_UP: "test_group.test_a_terminal_that_is_gone",
        Exit.INTERRUPTED: "test_group.test_interrupting_keygen",
        Exit.BROKEN_PIPE: "test_group.test_a_reader_that_has_left_ends_it_quietly",
    },
    "node-id": {
        Exit.OK: "test_keys.test_keygen_makes_a_private_file_and_never_overwrites",
        Exit.USAGE: "test_node.test_what_is_no_secret_is_refused_and_not_shown",
        Exit.HUNG_UP: "test_group.test_a_terminal_that_is_gone",
        Exit.INTERRUPTED: "test_group.test_interrupting_who_waits_for_a_file",
        Exit.BROKEN_PIPE: "test_group.test_a_reader_that_has_left_ends_it_quietly",
    },
    "decode": {
        Exit.OK: "test_tree.test_the_tree_explains",
        Exit.USAGE: "test_messages.test_usage",
        Exit.PROTOCOL: "test_messages.test_usage",
        Exit.HUNG_UP: "test_group.test_a_terminal_that_is_gone",
        Exit.INTERRUPTED: "test_group.test_interrupting_who_waits_for_a_file",
        Exit.BROKEN_PIPE: "test_group.test_a_reader_that_has_left_ends_it_quietly",
    },
    "encode": {
        Exit.OK: "test_pieces.test_bytes_to_json_and_back",
        Exit.USAGE: "test_pieces.test_a_closed_standard_input",
        Exit.PROTOCOL: "test_messages.test_what_is_no_message_is_named_by_encode",
        Exit.INTERRUPTED: "test_group.test_interrupting_who_waits_for_a_file",
        Exit.BROKEN_PIPE: "test_group.test_a_reader_that_has_left_ends_it_quietly",
    },
    "replay": {
        Exit.OK: "test_replay.test_the_command_shows_what_happened",
        Exit.FAILED: "test_replay.test_the_commands_exit_codes",
        Exit.USAGE: "test_replay.test_the_commands_exit_codes",
        Exit.HUNG_UP: "test_group.test_a_terminal_that_is_gone",
        Exit.INTERRUPTED: "test_group.test_interrupting_who_waits_for_a_file",
        Exit.BROKEN_PIPE: "test_group.test_a_reader_that_has_left_ends_it_quietly",
    },
    "offer decode": {
        Exit.OK: "test_offers.test_an_offer_for_people_and_as_json",
        Exit.USAGE: "test_offers.test_exit_code_2_names_the_rule",
        Exit.HUNG_UP: "test_group.test_a_terminal_that_is_gone",
        Exit.INTERRUPTED: "test_offers.test_interrupted",
        Exit.BROKEN_PIPE: "test_group.test_a_reader_that_has_left_ends_it_quietly",
    },
    "storage put": {
        Exit.OK: "test_storage.test_what_is_put_is_got_by_who_has_the_secret",
        Exit.FAILED: "test_storage.test_exit_code_1_where_nobody_stores",
        Exit.USAGE: "test_storage.test_exit_code_2_for_the_command_line",
        Exit.CONNECT: "test_storage.test_exit_code_3_where_nobody_is_reached",
        Exit.HANDSHAKE: "test_storage.test_exit_code_4_for_another_node",
        Exit.PROTOCOL: "test_storage.test_exit_code_5_where_it_is_refused",
        Exit.TIMEOUT: "test_storage.test_exit_code_6_where_nothing_comes",
        Exit.HUNG_UP: "test_storage.test_a_signal_ends_the_waiting",
        Exit.INTERRUPTED: "test_storage.test_a_signal_ends_the_waiting",
        Exit.BROKEN_PIPE: "test_storage.test_exit_code_141_for_a_reader_that_has_left",
        Exit.TERMINATED: "test_storage.test_a_signal_ends_the_waiting",
    },
    "storage get": {
        Exit.OK: "test_storage.test_what_is_put_is_got_by_who_has_the_secret",
        Exit.USAGE: "test_storage.test_exit_code_2_for_the_command_line",
        Exit.CONNECT: "test_storage.test_exit_code_3_where_nobody_is_reached",
        Exit.HANDSHAKE: "test_storage.test_exit_code_4_for_another_node",
        Exit.PROTOCOL: "test_storage.test_exit_code_5_where_it_is_refused",
        Exit.TIMEOUT: "test_storage.test_exit_code_6_where_nothing_comes",
        Exit.HUNG_UP: "test_storage.test_a_signal_ends_the_waiting",
        Exit.INTERRUPTED: "test_storage.test_a_signal_ends_the_waiting",
        Exit.BROKEN_PIPE: "test_storage.test_exit_code_141_for_a_reader_that_has_left",
        Exit.TERMINATED: "test_storage.test_a_signal_ends_the_waiting",
    },
    "onion send": {
        Exit.OK: "test_onion.test_a_message_and_its_answer",
        Exit.USAGE: "test_onion.test_exit_code_2_for_what_is_no_message",
        Exit.CONNECT: "test_onion.test_exit_code_3_where_there_is_no_way",
        Exit.PROTOCOL: "test_onion.test_exit_code_5_where_the_peer_hangs_up",
        Exit.TIMEOUT: "test_onion.test_exit_code_6_where_nothing_comes",
        Exit.HUNG_UP: "test_onion.test_a_signal_ends_the_waiting",
        Exit.INTERRUPTED: "test_onion.test_a_signal_ends_the_waiting",
        Exit.BROKEN_PIPE: "test_onion.test_exit_code_141_for_a_reader_that_has_left",
        Exit.TERMINATED: "test_onion.test_a_signal_ends_the_waiting",
    },
    "lsps protocols": LSPS,
    "lsps call": LSPS,
    "lsps info": LSPS,
    "onion listen": {
        Exit.USAGE: "test_onion.test_exit_code_2_for_a_secret_that_is_none",
        Exit.CONNECT: "test_onion.test_exit_code_3_for_a_port_that_is_taken",
        Exit.HUNG_UP: "test_onion.test_what_is_sent_is_shown",
        Exit.INTERRUPTED: "test_onion.test_what_is_sent_is_shown",
        Exit.BROKEN_PIPE: "test_onion.test_exit_code_141_for_a_reader_that_has_left",
        Exit.TERMINATED: "test_onion.test_what_is_sent_is_shown",
    },
    "offer fetch-invoice": {
        Exit.OK: "test_fetch_invoice.test_an_invoice_is_fetched",
        Exit.FAILED: "test_fetch_invoice.test_exit_code_1_where_the_other_side_says_no",
        Exit.USAGE: "test_fetch_invoice.test_exit_code_2_for_what_does_not_fit_the_offer",
        Exit.CONNECT: "test_fetch_invoice.test_exit_code_3_where_there_is_no_way",
        Exit.PROTOCOL: "test_fetch_invoice.test_exit_code_5_for_another_invoice",
        Exit.TIMEOUT: "test_fetch_invoice.test_exit_code_6_where_nothing_comes",
        Exit.HUNG_UP: "test_fetch_invoice.test_a_signal_ends_the_waiting",
        Exit.INTERRUPTED: "test_fetch_invoice.test_a_signal_ends_the_waiting",
        Exit.BROKEN_PIPE: "test_fetch_invoice.test_exit_code_141_for_a_reader_that_has_left",
        Exit.TERMINATED: "test_fetch_invoice.test_a_signal_ends_the_waiting",
    },
    "invoice decode": {
        Exit.OK: "test_offers.test_an_invoice_for_people_and_as_json",
        Exit.USAGE: "test_offers.test_exit_code_2_names_the_rule",
        Exit.HUNG_UP: "test_group.test_a_terminal_that_is_gone",
        Exit.INTERRUPTED: "test_offers.test_interrupted",
        Exit.BROKEN_PIPE: "test_group.test_a_reader_that_has_left_ends_it_quietly",
    },
    "graph stats": {
        Exit.OK: "test_graph.test_stats_of_any_file",
        Exit.USAGE: "test_graph.test_exit_code_2_for_what_is_no_graph",
        Exit.HUNG_UP: "test_group.test_a_terminal_that_is_gone",
        Exit.INTERRUPTED: "test_group.test_interrupting_who_waits_for_a_file",
        Exit.BROKEN_PIPE: "test_group.test_a_reader_that_has_left_ends_it_quietly",
    },
    "graph show": {
        Exit.OK: "test_graph.test_show_a_node",
        Exit.FAILED: "test_graph.test_exit_code_1_for_what_is_not_there",
        Exit.USAGE: "test_graph.test_exit_code_2_for_what_is_no_graph",
        Exit.HUNG_UP: "test_group.test_a_terminal_that_is_gone",
        Exit.INTERRUPTED: "test_group.test_interrupting_who_waits_for_a_file",
        Exit.BROKEN_PIPE: "test_group.test_a_reader_that_has_left_ends_it_quietly",
    },
    "graph import": {
        Exit.OK: "test_graph_files.test_from_a_store_to_a_graph_and_its_numbers",
        Exit.USAGE: "test_graph_files.test_exit_code_2_for_a_graph_that_cannot_be_written",
        Exit.HUNG_UP: "test_graph_files.test_interrupting_an_import_keeps_what_came",
        Exit.INTERRUPTED: "test_graph_files.test_interrupting_an_import_keeps_what_came",
        Exit.BROKEN_PIPE: "test_group.test_a_reader_that_has_left_ends_it_quietly",
        Exit.TERMINATED: "test_graph_files.test_interrupting_an_import_keeps_what_came",
    },
    "graph serve": {
        Exit.USAGE: "test_graph_serve.test_exit_code_2_where_there_is_nothing_to_tell_of",
        Exit.CONNECT: "test_graph_serve.test_exit_code_3_for_a_port_that_is_taken",
        Exit.HUNG_UP: "test_graph_serve.test_what_is_served_is_fetched",
        Exit.INTERRUPTED: "test_graph_serve.test_what_is_served_is_fetched",
        Exit.BROKEN_PIPE: "test_graph_serve.test_exit_code_141_for_a_reader_that_has_left",
        Exit.TERMINATED: "test_graph_serve.test_what_is_served_is_fetched",
    },
    "graph sync": {
        Exit.OK: "test_graph_sync.test_a_graph_is_fetched_and_shown",
        Exit.USAGE: "test_graph_sync.test_exit_code_2_for_a_file_of_something_else_and_without_nodes",
        Exit.CONNECT: "test_graph_sync.test_exit_code_3_where_nobody_is",
        Exit.TIMEOUT: "test_graph_sync.test_exit_code_6_where_not_all_of_it_came",
        Exit.HUNG_UP: "test_graph_sync.test_a_follower_keeps_what_it_has",
        Exit.INTERRUPTED: "test_graph_sync.test_a_follower_keeps_what_it_has",
        Exit.BROKEN_PIPE: "test_graph_sync.test_exit_code_141_for_a_reader_that_has_left",
        Exit.TERMINATED: "test_graph_sync.test_a_follower_keeps_what_it_has",
    },
    "crawl": {
        Exit.OK: "test_crawl.test_a_network_is_walked",
        Exit.USAGE: "test_crawl.test_exit_code_2_for_what_is_no_record_and_no_number",
        Exit.CONNECT: "test_crawl.test_exit_code_3_where_nobody_is",
        Exit.HUNG_UP: "test_crawl.test_a_signal_ends_it_whole",
        Exit.INTERRUPTED: "test_crawl.test_a_signal_ends_it_whole",
        Exit.BROKEN_PIPE: "test_crawl.test_exit_code_141_for_a_reader_that_has_left",
        Exit.TERMINATED: "test_crawl.test_a_signal_ends_it_whole",
    },
    "record start": {
        Exit.OK: "test_record_start.test_what_a_node_says_is_recorded_and_shown",
        Exit.USAGE: "test_record_start.test_exit_code_2_for_what_is_no_record_and_no_size",
        Exit.CONNECT: "test_record_start.test_exit_code_3_where_nobody_is",
        Exit.TIMEOUT: "test_record_start.test_exit_code_6_where_nobody_says_anything",
        Exit.HUNG_UP: "test_record_start.test_a_signal_ends_it_whole",
        Exit.INTERRUPTED: "test_record_start.test_a_signal_ends_it_whole",
        Exit.BROKEN_PIPE: "test_record_start.test_exit_code_141_for_a_reader_that_has_left",
        Exit.TERMINATED: "test_record_start.test_a_signal_ends_it_whole",
    },
    "record stats": {
        Exit.OK: "test_record.test_a_record_in_numbers",
        Exit.USAGE: "test_record.test_exit_code_2_for_what_is_no_record",
        Exit.HUNG_UP: "test_group.test_a_terminal_that_is_gone",
        Exit.INTERRUPTED: "test_record.test_interrupting",
        Exit.BROKEN_PIPE: "test_group.test_a_reader_that_has_left_ends_it_quietly",
    },
    "record plot": {
        Exit.OK: "test_record.test_pictures",
        Exit.USAGE: "test_record.test_exit_code_2_for_what_is_no_record",
        Exit.HUNG_UP: "test_group.test_a_terminal_that_is_gone",
        Exit.INTERRUPTED: "test_record.test_interrupting",
        Exit.BROKEN_PIPE: "test_group.test_a_reader_that_has_left_ends_it_quietly",
    },
    "record export": {
        Exit.OK: "test_record.test_tables_of_both_kinds",
        Exit.USAGE: "test_record.test_exit_code_2_for_what_is_no_record",
        Exit.HUNG_UP: "test_group.test_a_terminal_that_is_gone",
        Exit.INTERRUPTED: "test_record.test_interrupting",
        Exit.BROKEN_PIPE: "test_group.test_a_reader_that_has_left_ends_it_quietly",
    },
    "front": {
        Exit.USAGE: "test_front.test_another_node_s_secret_is_exit_code_2",
        Exit.CONNECT: "test_front.test_exit_codes_of_a_port_that_is_taken_and_a_reader_that_has_left",
        Exit.HUNG_UP: "test_front.test_a_signal_ends_it_whole",
        Exit.INTERRUPTED: "test_front.test_a_signal_ends_it_whole",
        Exit.BROKEN_PIPE: "test_front.test_exit_codes_of_a_port_that_is_taken_and_a_reader_that_has_left",
        Exit.TERMINATED: "test_front.test_a_signal_ends_it_whole",
    },
    "fleet show": {
        Exit.OK: "test_fleet.test_a_fleet_that_never_was",
        Exit.USAGE: "test_fleet.test_a_password_that_cannot_be_read",
        Exit.CONNECT: "test_fleet.test_an_engine_that_does_not_answer",
        Exit.INTERRUPTED: "test_fleet.test_exit_codes_of_a_reader_that_has_left_and_of_who_does_not_wait",
        Exit.BROKEN_PIPE: "test_fleet.test_exit_codes_of_a_reader_that_has_left_and_of_who_does_not_wait",
    },
    "graph plot": {
        Exit.OK: "test_graph.test_pictures_of_any_file",
        Exit.USAGE: "test_graph.test_pictures_without_matplotlib",
        Exit.HUNG_UP: "test_group.test_a_terminal_that_is_gone",
        Exit.INTERRUPTED: "test_group.test_interrupting_who_waits_for_a_file",
        Exit.BROKEN_PIPE: "test_group.test_a_reader_that_has_left_ends_it_quietly",
    },
    "graph export": {
        Exit.OK: "test_graph_files.test_what_is_exported_is_read_again",
        Exit.USAGE: "test_graph_files.test_exit_code_2_for_a_file_that_cannot_be_made",
        Exit.HUNG_UP: "test_group.test_a_terminal_that_is_gone",
        Exit.INTERRUPTED: "test_group.test_interrupting_who_waits_for_a_file",
        Exit.BROKEN_PIPE: "test_group.test_a_reader_that_has_left_ends_it_quietly",
    },
}
"""For each command and each code that it can give, a test of this folder that has seen it."""


def listed(*command: str) -> dict[int, str]:
    """What a help says of exit codes."""
    shown = CliRunner().invoke(cli, [*command, "--help"])
    assert shown.exit_code == 0
    _, _, rows = shown.stdout.partition("\n  Exit codes:\n")
    found = re.findall(r"^ +(\d+)  (\S.*)$", rows, re.MULTILINE)
    assert len(found) == len(rows.splitlines())
    return {int(code): words for code, words in found}


@pytest.mark.parametrize("code", DisconnectCode)
def test_every_reason_has_an_exit_code(code: DisconnectCode) -> None:
    """A new code of the library shall not be forgotten here; those of timeouts and acts can be told by their names."""
    given = exit_of(DisconnectReason(code, Side.US, ""))
    assert given in (Exit.CONNECT, Exit.HANDSHAKE, Exit.PROTOCOL, Exit.TIMEOUT)
    assert ("TIMEOUT" in code or code is DisconnectCode.WRITE_STALLED) == (given == Exit.TIMEOUT)
    assert ("ACT_" in code or code is DisconnectCode.CLOSED_IN_HANDSHAKE) == (given == Exit.HANDSHAKE)


def test_every_kind_of_end_has_an_exit_code_of_its_own() -> None:
    assert ENDS.keys() == {*Kind}
    assert len({*ENDS.values()}) == len(Kind)


def test_help() -> None:
    for command in ([], ["demo"], ["ping"], ["listen"]):
        code, lines, _ = run(*command, "--help")
        assert code == 0
        for ending in ("  129  SIGHUP", "  130  Ctrl-C", "  143  SIGTERM"):
            assert ending in "\n".join(lines)
    _, lines, _ = run("--help")
    text = " ".join(" ".join(lines).split())
    assert "use a key that is made for this one run and forgotten" in text
    assert "may cost it a channel" in text
    assert run("--version")[0] == 0


def test_the_help_lists_every_code_with_its_words() -> None:
    assert [*MEANINGS] == [*Exit]
    found = listed()
    assert found.keys() == {*Exit}
    for code, meaning in MEANINGS.items():
        assert found[code].startswith(meaning.words)
        for command, words in meaning.own.items():
            assert command in COMMANDS
            assert command in found[code]
            assert words in found[code]


def test_every_command_is_looked_at() -> None:
    assert SHOWN.keys() == COMMANDS.keys()


@pytest.mark.parametrize("seen", sorted({test for tests in SHOWN.values() for test in tests.values()}))
def test_a_test_that_has_seen_a_code_is_there(seen: str) -> None:
    file, _, name = seen.partition(".")
    tree = ast.parse((Path(__file__).parent / f"{file}.py").read_text())
    assert name in {one.name for one in tree.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("command", SHOWN)
def test_each_commands_help_lists_what_it_can_give(command: str) -> None:
    found = listed(*command.split())
    assert [*found] == sorted(found)
    assert found.keys() == SHOWN[command].keys()
    for code, words in found.items():
        meaning = MEANINGS[Exit(code)]
        peers = Exit.TERMINATED in found
        assert words == meaning.own.get(command, meaning.words if peers or not meaning.alone else meaning.alone)
