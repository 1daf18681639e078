"""Which processes make up a system, and how they are configured."""

from __future__ import annotations

from pathlib import Path

from lanecast.cli.core import nats, plan
from lanecast.cli.core.plan import Launch, SystemSettings, plan_examples, plan_system


def by_name(settings: SystemSettings) -> dict[str, Launch]:
    return {launch.spec.name: launch for launch in plan_system(settings)}


def settings(**changes: object) -> SystemSettings:
    return SystemSettings(data_dir=Path("/data"), **changes)  # type: ignore[arg-type]


def test_one_of_each() -> None:
    launches = by_name(settings())

    assert list(launches) == ["publisher", "gateway-1", "metrics"]
    assert launches["gateway-1"].environ[plan.GATEWAY_REUSE_PORT] == "false"


def test_gateways_stop_before_the_publisher_and_metrics_last() -> None:
    order = sorted(plan_system(settings(gateways=2)), key=lambda launch: launch.spec.stop_stage)

    assert [launch.service for launch in order] == ["gateway", "gateway", "publisher", "metrics"]


def test_gateways_start_when_there_is_a_publisher() -> None:
    stages = {name: launch.spec.start_stage for name, launch in by_name(settings()).items()}

    assert stages["publisher"] < stages["gateway-1"]


def test_several_gateways_share_one_port_under_names_of_their_own() -> None:
    launches = by_name(settings(gateways=3, gateway_port=9001))
    gateways = [launches[f"gateway-{number}"].environ for number in (1, 2, 3)]

    assert {environ[plan.GATEWAY_PORT] for environ in gateways} == {"9001"}
    assert {environ[plan.GATEWAY_REUSE_PORT] for environ in gateways} == {"true"}
    assert [environ[plan.GATEWAY_INSTANCE] for environ in gateways] == ["gateway-1", "gateway-2", "gateway-3"]


def test_the_services_find_one_another() -> None:
    launches = by_name(settings(publisher_port=1, gateway_port=2, metrics_port=3, http_port=4))

    assert launches["gateway-1"].environ[plan.GATEWAY_PUBLISHER_TARGETS] == "127.0.0.1:1"
    assert launches["metrics"].environ[plan.METRICS_GATEWAY_URLS] == "ws://127.0.0.1:2/v1/ws"
    assert {launch.environ[plan.METRICS_TARGET] for launch in launches.values()} == {"127.0.0.1:3"}
    assert {launch.environ[plan.DATA_DIR] for launch in launches.values()} == {"/data"}
    assert {launch.environ[plan.SUPERVISED] for launch in launches.values()} == {"1"}


def test_the_dashboard_may_connect_and_so_may_what_the_user_allows() -> None:
    origins = by_name(settings(http_port=8000, allowed_origins=("https://crm.example",)))["gateway-1"].environ

    assert origins[plan.GATEWAY_ALLOWED_ORIGINS].split(",") == [
        "http://127.0.0.1:8000",
        "http://localhost:8000",
        "https://crm.example",
    ]


def test_all_interfaces_are_reached_by_loopback() -> None:
    urls = settings(host="0.0.0.0").urls()

    assert urls["dashboard"] == "http://127.0.0.1:7480/"
    assert urls["pages"] == "http://127.0.0.1:7480/pages/"
    assert urls["publisher"] == "127.0.0.1:7400"


def test_an_ipv6_host_is_written_with_brackets() -> None:
    assert settings(host="::1").urls()["websocket"] == "ws://[::1]:7401/v1/ws"


def test_a_host_of_its_own_is_an_origin_too() -> None:
    environ = by_name(settings(host="10.0.0.5"))["gateway-1"].environ

    assert "http://10.0.0.5:7480" in environ[plan.GATEWAY_ALLOWED_ORIGINS].split(",")


def test_log_level_and_file_are_passed_on_where_given() -> None:
    assert plan.LOG_LEVEL not in by_name(settings())["publisher"].environ
    environ = by_name(settings(log_level="DEBUG", config=Path("/etc/lanecast.toml")))["metrics"].environ
    assert (environ[plan.LOG_LEVEL], environ[plan.CONFIG_FILE]) == ("DEBUG", "/etc/lanecast.toml")


def test_examples_stop_before_the_services() -> None:
    (concierge,) = plan_examples({"concierge": Path("/x/main.py")}, {"concierge": ("--target", "127.0.0.1:1")}, 7)

    assert concierge.spec.stop_stage < min(launch.spec.stop_stage for launch in plan_system(settings()))
    assert concierge.spec.start_stage > max(launch.spec.start_stage for launch in plan_system(settings()))
    assert concierge.arguments[-4:] == ("7", "/x/main.py", "--target", "127.0.0.1:1")


def test_a_policy_is_for_the_publisher_and_left_out_where_none_is_named() -> None:
    assert plan.PUBLISHER_POLICY not in by_name(settings())["publisher"].environ
    environ = by_name(settings(policy="legacy-500ms"))["publisher"].environ
    assert environ[plan.PUBLISHER_POLICY] == "legacy-500ms"


def test_the_publisher_is_told_of_a_shared_log() -> None:
    log = "nats://a:4222,nats://b:4222"
    shared = settings(log=log, log_check=("http://a:8222",), log_replicas=3, accept_lazy_fsync=True)
    environ = by_name(shared)["publisher"].environ

    assert environ[plan.PUBLISHER_LOG] == log
    assert environ[plan.PUBLISHER_LOG_CHECK] == "http://a:8222"
    assert environ[plan.PUBLISHER_LOG_REPLICAS] == "3"
    assert environ[plan.PUBLISHER_LAZY_FSYNC] == "true"


def test_a_log_that_was_not_named_is_left_to_the_configuration() -> None:
    environ = by_name(settings())["publisher"].environ

    assert not {plan.PUBLISHER_LOG, plan.PUBLISHER_LOG_CHECK, plan.PUBLISHER_LAZY_FSYNC} & set(environ)


def test_publishers_share_the_log_and_each_gateway_prefers_another_one() -> None:
    launches = by_name(settings(gateways=2, more_publisher_ports=(7500,), log="nats://n:4222"))

    for name in ("publisher-1", "publisher-2"):
        assert launches[name].environ[plan.PUBLISHER_LOG] == "nats://n:4222"
        assert launches[name].environ[plan.PUBLISHER_INSTANCE] == name
    targets = [launches[f"gateway-{n}"].environ[plan.GATEWAY_PUBLISHER_TARGETS] for n in (1, 2)]
    assert targets == ["127.0.0.1:7400,127.0.0.1:7500", "127.0.0.1:7500,127.0.0.1:7400"]


def test_nats_servers_start_before_the_publishers_that_use_them_and_stop_after_them() -> None:
    cluster = nats.cluster(Path("/data/nats"), range(9000, 9009), "secret")
    launches = by_name(settings(nats=cluster.servers))

    assert list(launches)[: nats.COUNT] == ["nats-1", "nats-2", "nats-3"]
    server, publisher = launches["nats-2"], launches["publisher"]
    assert server.spec.start_stage < publisher.spec.start_stage
    assert server.spec.stop_stage > publisher.spec.stop_stage
    assert cluster.url.split(",")[1] == "nats://lanecast:secret@127.0.0.1:9003"
    assert "secret" not in " ".join(server.arguments)


def test_a_nats_server_syncs_before_it_acknowledges_and_knows_the_others() -> None:
    cluster = nats.cluster(Path("/data/nats"), range(9000, 9009), "secret")
    text = cluster.config(cluster.servers[0])

    assert "sync_interval: always" in text
    assert all(f":{server.route_port}" in text for server in cluster.servers)
