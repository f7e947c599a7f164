"""The benchmark sends what it says it sends."""

from __future__ import annotations

import gzip

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bench.payload import Generator, requests

NOW_NS = 1_763_000_000_000_000_000
SPANS = Generator("test").spans(3_000, NOW_NS, 3_600.0)


def test_a_span_has_the_shape_that_other_products_were_measured_with() -> None:
    assert 14.2 < sum(len(span.attributes) for span in SPANS) / len(SPANS) < 15.0
    sizes = [len(gzip.decompress(request.body)) for request in requests(SPANS, 512)]
    assert 1_500 < sum(sizes) / len(SPANS) < 1_900
    assert 20 < len(SPANS) / len({span.trace_id for span in SPANS}) < 36


def test_requests_hold_every_span_once() -> None:
    found = []
    for request in requests(SPANS, 512):
        message = ExportTraceServiceRequest.FromString(gzip.decompress(request.body))
        ids = [span.span_id for rs in message.resource_spans for ss in rs.scope_spans for span in ss.spans]
        assert len(ids) == request.spans <= 512
        found += ids
    assert sorted(found) == sorted(span.span_id for span in SPANS)


def test_the_same_seed_makes_the_same_requests() -> None:
    again = Generator("test").spans(3_000, NOW_NS, 3_600.0)
    assert [r.body for r in requests(again, 512)] == [r.body for r in requests(SPANS, 512)]
