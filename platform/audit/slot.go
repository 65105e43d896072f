package audit

// SlotPrefix and the name of its database, in lower case and with "_" for what is neither
// letter nor digit, are the name of the replication slot that publishes a service's outbox,
// where one does.
const SlotPrefix = "outbox_"
