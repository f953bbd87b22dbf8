-- clear: mirrors domain/recovery.rs
-- Removes the session until it has a position to return to.
local token = ARGV[4]
if string.match(call('GET', key) or '', '^%S+') == token then call('DEL', key) end
return '{}'
