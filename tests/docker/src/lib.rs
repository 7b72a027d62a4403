//! docker-suite
