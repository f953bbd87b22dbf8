-- set_typing: mirrors domain/typing.rs
-- A typing indicator: 1 begins, 0 ends, x has expired.
local connection, state = ARGV[5], ARGV[6]
local why = open()
if why then return refuse(why) end
if state == 'x' then
  -- The membership can have moved to another connection.
  stop_typing(connection, connection)
  return done('"r":1', true)
end
touch()
local seat = seat_of(connection)
if not seat then return refuse('not_in_room') end
if observes(seat) then return refuse('observer') end
if state == '0' then
  stop_typing(seat.c, seat.c)
  return done('"r":1', true)
end
if call('HEXISTS', typing_key, seat.c) == 0 and call('HLEN', typing_key) < TYPISTS_PER_ROOM then
  local is_news = true
  for _, other in ipairs(call('HVALS', typing_key)) do
    if cjson.decode(other).w[1] == seat.w[1] then is_news = false end
  end
  call('HSET', typing_key, seat.c, cjson.encode({w = seat.w, d = seat.d, at = now}))
  if is_news then tell('*' .. seat.c, typing(seat, 1)) end
end
return done('"r":1', true)
