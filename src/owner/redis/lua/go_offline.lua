-- go_offline: mirrors domain/presence.rs
-- ARGV: 6 what was said when they went. If they came back since, nothing happens.
read()
if user.here and user.g == ARGV[6] then go() end
return '{}'
