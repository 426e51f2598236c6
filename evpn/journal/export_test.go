package journal

// For the tests.
var (
	EventTypes = eventTypes
	Snake      = snake
)
