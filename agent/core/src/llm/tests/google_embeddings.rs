use super::*;

const EMBED: &str = "/v1beta/models/gemini-embedding-001:embedContent";
const BATCH: &str = "/v1beta/models/gemini-embedding-001:batchEmbedContents";
const PREDICT: &str =
    "/v1/projects/p/locations/us-central1/publishers/google/models/text-embedding-005:predict";

fn talk(path: &'static str, request: &str, body: &str) -> Talk {
    Talk::new(path, request, "application/json", body)
}

pub(super) fn predict() -> Talk {
    talk(
        PREDICT,
        r#"{"instances":[{"content":"Why?","task_type":"RETRIEVAL_QUERY","title":"canary"},{"content":"How?"}],"parameters":{}}"#,
        r#"{"predictions":[{"embeddings":{"statistics":{"truncated":false,"token_count":4},"values":[0.1,0.2]}},
            {"embeddings":{"values":[0.3],"statistics":{"token_count":5.0,"truncated":false}}}],"metadata":{"billableCharacterCount":8}}"#,
    )
}

fn asked(call: LlmCall) -> Vec<String> {
    let countable = call.countable.expect("nothing was reported");
    countable.input.parts().map(str::to_owned).collect()
}

#[test]
fn the_gemini_api_reports_nothing_so_the_texts_are_left_to_be_counted() {
    let one = talk(
        EMBED,
        r#"{"model":"models/gemini-embedding-001","content":{"parts":[{"text":"Why?"},{"text":"How?"}]},"taskType":"RETRIEVAL_QUERY"}"#,
        r#"{"embedding":{"values":[0.1,0.2]}}"#,
    )
    .call();
    assert_eq!(
        verdict(&one),
        (Outcome::Complete, UsageSource::None, None, Some(0))
    );
    assert_eq!(one.endpoint, Endpoint::GeminiEmbed);
    assert_eq!(one.model_requested.as_deref(), Some("gemini-embedding-001"));
    assert_eq!(asked(one), ["Why?", "How?"]);
    let several = talk(
        BATCH,
        r#"{"requests":[{"model":"models/gemini-embedding-001","content":{"parts":[{"text":"Why?"}],"role":"user"},"title":"canary"},
            {"model":"models/gemini-embedding-001","content":{"parts":[{"text":"How?"}]}}]}"#,
        r#"{"embeddings":[{"values":[0.1]},{"values":[0.2]}]}"#,
    )
    .call();
    assert_eq!(
        several.model_requested.as_deref(),
        Some("gemini-embedding-001")
    );
    assert_eq!(asked(several), ["Why?", "How?"]);
}

#[test]
fn vertex_reports_the_tokens_of_every_text() {
    let call = predict().call();
    assert_eq!(
        verdict(&call),
        (Outcome::Complete, UsageSource::Provider, Some(9), Some(0))
    );
    assert_eq!(call.model_requested.as_deref(), Some("text-embedding-005"));
    let call = talk(
        EMBED,
        r#"{"content":{"parts":[{"text":"Why?"}]}}"#,
        r#"{"embedding":{"values":[0.1]},"usageMetadata":{"promptTokenCount":7,"totalTokenCount":7,
            "promptTokensDetails":[{"modality":"IMAGE","tokenCount":3},{"modality":"TEXT","tokenCount":4}],"trafficType":"ON_DEMAND"},"truncated":false}"#,
    )
    .call();
    assert_eq!(
        verdict(&call),
        (Outcome::Complete, UsageSource::Provider, Some(7), Some(0))
    );
    assert_eq!(call.usage.image_input, Some(3));
    assert_eq!(call.terms.service_tier.as_deref(), Some("ON_DEMAND"));
}

#[test]
fn trap_15_the_usage_behind_megabytes_of_vectors_is_found() {
    let vector = "0.012345,".repeat(200_000);
    let body = format!(
        r#"{{"predictions":[{{"embeddings":{{"values":[{vector}0.1],"statistics":{{"token_count":4}}}}}}]}}"#
    );
    let call = talk(PREDICT, r#"{"instances":[{"content":"Why?"}]}"#, &body).call();
    assert_eq!(
        verdict(&call),
        (Outcome::Complete, UsageSource::Provider, Some(4), Some(0))
    );
}

#[test]
fn pictures_are_counted_one_by_one() {
    let call = talk(
        "/v1/projects/p/locations/us/publishers/google/models/imagen-4.0-generate-001:predict",
        r#"{"instances":[{"prompt":"A cat"}],"parameters":{"sampleCount":2}}"#,
        r#"{"predictions":[{"mimeType":"image/png","bytesBase64Encoded":"QUJD"},{"bytesBase64Encoded":"QUJD","mimeType":"image/png"}]}"#,
    )
    .call();
    assert_eq!((call.units.unpriced, call.countable), (Some(2), None));
}

#[test]
fn predictions_of_other_models_are_no_calls() {
    let talk = talk(
        PREDICT,
        r#"{"instances":[{"content":"Why?"}]}"#,
        r#"{"predictions":[{"classes":["a"],"scores":[0.5]}]}"#,
    );
    assert!(calls(talk.run().0).is_empty());
}
