-- purge_user: mirrors domain/presence.rs
-- ARGV: 6 a node that is no more. If it had their last connections, or waited for their return, they are offline.
read()
if not user.here then return '{}' end
local dead = ARGV[6]
local ended = user.g and string.match(user.g, '^%d+') == dead
for _, member in ipairs(call('ZRANGE', C, 0, -1)) do
  if string.match(member, '^%d+') == dead then
    call('ZREM', C, member)
    unname(member)
    ended = true
  end
end
if ended and call('ZCARD', C) == 0 then
  -- Nobody said which rooms its connections were in.
  if way == 'r' then part(call('SMEMBERS', I)) end
  user.l = last_seen()
  go()
end
return '{}'
