// The native msgpackr is of no use here and has crashed Bun.
process.env.MSGPACKR_NATIVE_ACCELERATION_DISABLED = "true";
process.env.MOCOD_LOG ??= "silent";
