-- go_offline: mirrors domain/presence.rs
-- The user goes offline, unless they have returned since this absence began.
local absence = ARGV[6]
read()
if user.here and user.absence == absence then go() end
return '{}'
