// Package flooding has packets copied as the core decides: it keeps the engines of
// package flood true to the core's lists, and tells the core whom they hear.
//
//	core ─ lists, relays ─▶ Manager ─ one table per interface ─▶ flood.Engine
//	     ◀─ heard, silent ─         ◀─ who sends ───────────────
//	     ◀─ is it alive? ── kernel
//
// # Intent
//
// [Manager.Apply] takes changes from the event loop and returns at once. Whoever works
// for an interface takes the newest table when the last one has been applied, however
// many changes came meanwhile. An engine is opened where there is something to copy or to
// hear, and closed where there is nothing any more.
//
// # Restart
//
// What an engine leaves behind copies on with the lists that it has ([flood.Engine.Leave],
// or a crash). So no table is applied before [Manager.Release]: an empty list would lose
// frames that the old one still copies. The lease is the other half: what we copy for
// others ends by itself when [Manager.Renew] is not called for a while, because another
// relay may have taken over from a process that is gone or hangs; and everything does
// ([Manager.Keep]) when neighbours no longer keep what a process announced.
//
// Who was heard, and for which networks we relayed, is remembered in the state
// directory: VTEPs for which we speak would else be withdrawn by our restart until they
// happen to be heard again.
//
// # Who is silent
//
// A VTEP that was not heard for the hold time is asked through the kernel whether it is
// still there: hosts that send no broadcasts are alive. A MAC is only as fresh as
// its last frame to the group; while it is not announced, frames for it are flooded.
package flooding
