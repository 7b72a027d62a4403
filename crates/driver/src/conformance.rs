//! Proofs of the contract.
