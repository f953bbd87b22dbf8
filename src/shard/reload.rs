//! Options that are replaced while the shard serves: what comes next is decided by the new ones. What is counted goes on.

use std::sync::Arc;

use crate::shard::Options;
use crate::shard::core::Core;

impl Core {
    /// Replaces the options. Those of them that a running shard is built on must be the same as before.
    pub(super) fn set_options(&mut self, options: Arc<Options>) {
        assert_eq!(
            (options.node, options.shards, options.recovery_window_ms),
            (self.options.node, self.options.shards, self.options.recovery_window_ms),
            "invariant: a shard is built on these options"
        );
        self.quota.set_rates(options.allowances.rates);
        self.budgets.set_rules(options.allowances.budgets);
        self.admission.set_options(options.clone());
        self.sockets.set_options(options.clone());
        self.owner.set_rules(options.rules.clone());
        self.metrics.log.look_at_level();
        self.net.options = options.clone();
        self.options = options;
    }
}
