-- clear: mirrors domain/recovery.rs
-- ARGV: 4 what opens it. It is kept no longer until there is something to come back to.
if string.match(call('GET', K) or '', '^%S+') == ARGV[4] then call('DEL', K) end
return '{}'
