//! One user's history: interactions, the residual buffer, and search over them.
