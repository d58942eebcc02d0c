//! The patterns of all paths.

/// The patterns of all paths that are served.
pub(crate) const PATHS: &[&str] = &[
    "/",
    "/page.css",
    "/page.js",
    "/healthz",
    "/readyz",
    "/metrics",
    "/route",
    "/openapi.json",
    "/tokenize",
    "/detokenize",
    "/v1/models",
    "/v1/models/{*model}",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/users",
    "/v1/users/{user}",
    "/v1/users/{user}/interactions",
    "/v1/users/{user}/interactions/{id}",
    "/v1/users/{user}/search",
    "/v1/users/{user}/adapt",
    "/v1/users/{user}/adaptations",
    "/v1/users/{user}/generations",
    "/v1/users/{user}/rollback",
    "/v1/users/{user}/periods",
    "/v1/users/{user}/buffer",
    "/v1/users/{user}/explain",
    "/v1/users/{user}/feedback",
    "/v1/users/{user}/consent",
    "/v1/users/{user}/export",
    "/v1/users/{user}/import",
];

/// A pattern as the metrics have it; empty if there is none.
pub(crate) fn known_path(pattern: &str) -> &'static str {
    PATHS.iter().find(|path| **path == pattern).unwrap_or(&"")
}
