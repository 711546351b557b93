//! Who calls and what they may: principals, tokens, grants and the decision.
