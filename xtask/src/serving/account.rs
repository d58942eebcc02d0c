//! What people did in all.

/// How often something was done and acknowledged, in all.
#[derive(Debug, Clone, Copy, Default)]
pub struct Account {
    pub texts: u64,
    pub answers: u64,
    pub cancelled: u64,
    pub adaptations: u64,
    pub consents: u64,
    /// Conversations that were kept.
    pub conversations: u64,
    pub feedback: u64,
    pub rollbacks: u64,
    pub forgotten: u64,
    pub users_forgotten: u64,
    /// Requests whose answer did not come.
    pub unanswered: u64,
    /// Of the texts that were sent without an answer, those that were there.
    pub arrived: u64,
    /// Requests that were refused for now.
    pub refused: u64,
}

impl Account {
    /// The sum of two.
    pub fn and(self, other: Self) -> Self {
        Self {
            texts: self.texts + other.texts,
            answers: self.answers + other.answers,
            cancelled: self.cancelled + other.cancelled,
            adaptations: self.adaptations + other.adaptations,
            consents: self.consents + other.consents,
            conversations: self.conversations + other.conversations,
            feedback: self.feedback + other.feedback,
            rollbacks: self.rollbacks + other.rollbacks,
            forgotten: self.forgotten + other.forgotten,
            users_forgotten: self.users_forgotten + other.users_forgotten,
            unanswered: self.unanswered + other.unanswered,
            arrived: self.arrived + other.arrived,
            refused: self.refused + other.refused,
        }
    }

    /// A table of it.
    pub fn table(&self) -> String {
        let rows = [
            ("texts acknowledged", self.texts),
            ("answers read to their end", self.answers),
            ("answers left in the middle", self.cancelled),
            ("adaptations asked for", self.adaptations),
            ("consents given or taken back", self.consents),
            ("conversations kept", self.conversations),
            ("final texts sent as feedback", self.feedback),
            ("rollbacks", self.rollbacks),
            ("texts forgotten", self.forgotten),
            ("users forgotten", self.users_forgotten),
            ("requests without an answer", self.unanswered),
            ("texts of these that had arrived", self.arrived),
            ("requests refused for now", self.refused),
        ];
        let rows: Vec<String> =
            rows.iter().map(|(what, count)| format!("| {what} | {count} |\n")).collect();
        format!("| what | times |\n|---|---|\n{}", rows.concat())
    }
}
