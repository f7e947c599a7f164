"""What one copies to send a first trace, for a server's address and a key."""

from __future__ import annotations

from dataclasses import dataclass

#: What stands for a key that is not shown any more.
PLACEHOLDER = "YOUR_INGEST_KEY"

_ENVIRONMENT = """\
export OTEL_EXPORTER_OTLP_ENDPOINT={origin}
export OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf
export OTEL_EXPORTER_OTLP_HEADERS="Authorization=Bearer%20{key}"
export OTEL_SERVICE_NAME={service}
export OTEL_RESOURCE_ATTRIBUTES="service.version=1.0,deployment.environment.name=staging"
# leave this one out to keep prompts and answers to yourself
export OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=true
"""

_CURL = """\
TRACE=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \\n')
SPAN=$(od -An -N8 -tx1 /dev/urandom | tr -d ' \\n')
NOW=$(date +%s)
curl -sS {origin}/v1/traces \\
  -H "Authorization: Bearer {key}" \\
  -H "Content-Type: application/json" -d @- <<END
{{"resourceSpans": [{{
  "resource": {{"attributes": [{{"key": "service.name", "value": {{"stringValue": "{service}"}}}}]}},
  "scopeSpans": [{{"spans": [{{
    "traceId": "$TRACE", "spanId": "$SPAN", "name": "chat gpt-4o", "kind": 3,
    "startTimeUnixNano": "$((NOW - 2))000000000", "endTimeUnixNano": "${{NOW}}000000000",
    "attributes": [
      {{"key": "gen_ai.operation.name", "value": {{"stringValue": "chat"}}}},
      {{"key": "gen_ai.provider.name", "value": {{"stringValue": "openai"}}}},
      {{"key": "gen_ai.request.model", "value": {{"stringValue": "gpt-4o"}}}},
      {{"key": "gen_ai.usage.input_tokens", "value": {{"intValue": "1200"}}}},
      {{"key": "gen_ai.usage.output_tokens", "value": {{"intValue": "300"}}}},
      {{"key": "user.id", "value": {{"stringValue": "me"}}}}
    ]}}]}}]}}]}}
END
"""

_PYDANTIC_AI = """\
# pip install pydantic-ai opentelemetry-sdk opentelemetry-exporter-otlp-proto-http
# with the environment variables of the first block
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from pydantic_ai import Agent

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
Agent.instrument_all()

agent = Agent("openai:gpt-4o", name="first-agent")
print(agent.run_sync("What is the capital of France?").output)
provider.shutdown()   # sends what is left
"""

_OPENINFERENCE = """\
# pip install openinference-instrumentation-openai opentelemetry-sdk opentelemetry-exporter-otlp-proto-http
# with the environment variables of the first block; other frameworks have an instrumentation of the same shape
from openinference.instrumentation import using_attributes
from openinference.instrumentation.openai import OpenAIInstrumentor
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
OpenAIInstrumentor().instrument(tracer_provider=provider)

with using_attributes(user_id="me", session_id="first-session"):
    ...   # call the model as you always do
provider.shutdown()
"""

_ATTRIBUTES = """\
user.id                       who caused it
gen_ai.conversation.id        the conversation (or session.id)
agentops.feature              the feature of your product
service.version               the release, on the resource
deployment.environment.name   production, staging, ... on the resource
"""


@dataclass(frozen=True, slots=True)
class Snippet:
    """A block to copy: an id for the page, a title, a sentence, and the text."""

    id: str
    title: str
    hint: str
    code: str


def snippets(*, origin: str, key: str = PLACEHOLDER, service: str = "my-agent") -> list[Snippet]:
    """The blocks, with the address, the key and the service filled in."""
    values = {"origin": origin, "key": key, "service": service}
    return [
        Snippet(
            "otel", "Any OpenTelemetry SDK", "Environment variables; no code changes.", _ENVIRONMENT.format(**values)
        ),
        Snippet("curl", "curl", "One model call, to see that the way is open.", _CURL.format(**values)),
        Snippet("pydantic-ai", "pydantic-ai", "Its own instrumentation, sent here.", _PYDANTIC_AI),
        Snippet("openinference", "OpenInference", "For the openai package; others work likewise.", _OPENINFERENCE),
        Snippet("attributes", "Say who and what for", "Span attributes that spend is divided by.", _ATTRIBUTES),
    ]
