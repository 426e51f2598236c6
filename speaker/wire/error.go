package wire

import "fmt"

// Error ends a session: the guard sends the NOTIFICATION it describes.
type Error struct {
	Code, Subcode uint8
	Data          []byte
	Detail        string // for people: what was wrong
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s: %s", ErrorText(e.Code, e.Subcode), e.Detail)
}

// Notification gives the message to send.
func (e *Error) Notification() []byte { return Notification(e.Code, e.Subcode, e.Data) }

func headerError(subcode uint8, data []byte, format string, a ...any) *Error {
	return &Error{Code: CodeHeader, Subcode: subcode, Data: data, Detail: fmt.Sprintf(format, a...)}
}

func openError(subcode uint8, data []byte, format string, a ...any) *Error {
	return &Error{Code: CodeOpen, Subcode: subcode, Data: data, Detail: fmt.Sprintf(format, a...)}
}

func updateError(subcode uint8, data []byte, format string, a ...any) *Error {
	return &Error{Code: CodeUpdate, Subcode: subcode, Data: data, Detail: fmt.Sprintf(format, a...)}
}
