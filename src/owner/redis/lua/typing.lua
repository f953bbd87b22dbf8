-- typing: mirrors domain/typing.rs
-- ARGV: 5 connection, 6 1 if it types, 0 if it says that it stopped, x if it has not said again that it types.
local why = open()
if why then return refuse(why) end
if ARGV[6] == 'x' then
  -- It may have given its place to another connection meanwhile.
  stop_typing(ARGV[5], ARGV[5])
  return done('"r":1', true)
end
touch()
local seat = seat_of(ARGV[5])
if not seat then return refuse('not_in_room') end
if ARGV[6] == '0' then
  stop_typing(seat.c, seat.c)
  return done('"r":1', true)
end
if call('HEXISTS', T, seat.c) == 0 and call('HLEN', T) < TYPISTS then
  local is_news = true
  for _, other in ipairs(call('HVALS', T)) do
    if cjson.decode(other).w[1] == seat.w[1] then is_news = false end
  end
  call('HSET', T, seat.c, cjson.encode({w = seat.w, at = now}))
  if is_news then tell('*' .. seat.c, '{"typing":{"w":' .. cjson.encode(seat.w) .. ',"on":1}}') end
end
return done('"r":1', true)
