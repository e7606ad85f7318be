"""Chinese words for the film: places and light, the camera, shots, styles, and clause orders."""

from __future__ import annotations

from kineograph.world.v2.lexicon import Words, words

ZH_FLOOR = {
    "checkered": words("棋盘格地面, 棋盘格地板, 方格地面", text="棋盘地面", held="棋盘格场地"),
    "wooden": words("木地板, 木质地面, 木头地面", held="实木地板"),
    "grassy": words("草地, 绿草地", text="青草地", held="草坪"),
    "sandy": words("沙地, 沙子, 沙土地面", held="沙滩"),
    "marble": words("大理石地面, 大理石地板, 大理石", held="大理石板"),
    "snowy": words("雪地, 积雪的地面", text="雪原", held="积雪"),
    "grid": words("网格地面, 网格, 发光的网格", text="格网地面"),
    "water": words("水面, 平静的水面", held="池水"),
}
ZH_PLACE = words("在{f}上")
ZH_SCENE = words("场景, 地点")  # 场景在草地上
ZH_SKY = {
    "dawn": words("黎明, 清晨, 日出时", text="早晨", held="拂晓"),
    "noon": words("正午, 中午, 中午时分", text="大白天", held="晌午"),
    "sunset": words("日落, 日落时分, 夕阳下", held="太阳下山时"),
    "dusk": words("黄昏, 傍晚, 黄昏时分", text="薄暮时分", held="天快黑时"),
    "night": words("夜晚, 夜里, 晚上", text="夜色中", held="深夜"),
}
ZH_WEATHER = {
    "clear": words("天气晴朗, 晴朗的天气", held="天气晴好"),
    "rain": words("雨中, 下着雨, 下雨天", text="下雨时", held="细雨中"),
    "snow": words("雪中, 下着雪, 下雪天", text="下雪时", held="飘着雪花"),
    "fog": words("雾中, 大雾中, 雾天", text="起雾时", held="雾气中"),
}

ZH_CAMERA = {
    "static": words("镜头固定, 镜头不动, 镜头静止", held="镜头保持不动"),
    "pan left": words("镜头{v}左摇, 镜头{v}向左摇", text="镜头{v}朝左摇", held="镜头{v}往左摇摄"),
    "pan right": words("镜头{v}右摇, 镜头{v}向右摇", text="镜头{v}朝右摇", held="镜头{v}往右摇摄"),
    "tilt up": words("镜头{v}上仰, 镜头{v}向上仰, 镜头{v}上摇", held="镜头{v}仰起"),
    "tilt down": words("镜头{v}下俯, 镜头{v}向下俯, 镜头{v}下摇", held="镜头{v}俯下"),
    "dolly in": words("镜头{v}推近, 镜头{v}向前推进, 镜头{v}前移", text="镜头{v}往前推"),
    "dolly out": words("镜头{v}拉远, 镜头{v}向后拉, 镜头{v}后退", text="镜头{v}往后拉"),
    "truck left": words("镜头{v}左移, 镜头{v}向左平移, 镜头{v}向左移动", held="镜头{v}往左横移"),
    "truck right": words("镜头{v}右移, 镜头{v}向右平移, 镜头{v}向右移动", held="镜头{v}往右横移"),
    "crane up": words("镜头{v}升起, 镜头{v}上升, 镜头{v}向上升", held="镜头{v}升高"),
    "crane down": words("镜头{v}降下, 镜头{v}下降, 镜头{v}向下降", held="镜头{v}降低"),
    "orbit left": words("镜头{v}向左环绕, 镜头{v}左环绕", "镜头{v}朝左环绕", "镜头{v}往左绕圈"),
    "orbit right": words("镜头{v}向右环绕, 镜头{v}右环绕", "镜头{v}朝右环绕", "镜头{v}往右绕圈"),
    "roll left": words("镜头{v}向左翻转, 镜头{v}左旋", "镜头{v}朝左翻转", "镜头{v}往左侧倾"),
    "roll right": words("镜头{v}向右翻转, 镜头{v}右旋", "镜头{v}朝右翻转", "镜头{v}往右侧倾"),
    "zoom in": words("镜头{v}变焦放大, 镜头{v}变焦推近", held="镜头{v}放大画面"),
    "zoom out": words("镜头{v}变焦缩小, 镜头{v}变焦拉远", held="镜头{v}缩小画面"),
    "handheld": words("镜头轻微晃动, 镜头手持", text="镜头微微晃动", held="镜头手持拍摄"),
}
# What a shot may be called: 切到慢速左摇镜头.
ZH_CAMERA_NOUN = {
    "static": words("固定镜头, 静止镜头", held="定镜头"),
    "pan left": words("{v}左摇镜头, {v}向左摇的镜头"),
    "pan right": words("{v}右摇镜头, {v}向右摇的镜头"),
    "tilt up": words("{v}上仰镜头, {v}向上仰的镜头"),
    "tilt down": words("{v}下俯镜头, {v}向下俯的镜头"),
    "dolly in": words("{v}推近镜头, {v}推进镜头"),
    "dolly out": words("{v}拉远镜头, {v}后拉镜头"),
    "truck left": words("{v}左移镜头, {v}向左平移的镜头"),
    "truck right": words("{v}右移镜头, {v}向右平移的镜头"),
    "crane up": words("{v}上升镜头, {v}升起的镜头"),
    "crane down": words("{v}下降镜头, {v}降下的镜头"),
    "orbit left": words("{v}左环绕镜头, {v}向左环绕的镜头"),
    "orbit right": words("{v}右环绕镜头, {v}向右环绕的镜头"),
    "roll left": words("{v}左旋镜头, {v}向左翻转的镜头"),
    "roll right": words("{v}右旋镜头, {v}向右翻转的镜头"),
    "zoom in": words("{v}变焦放大镜头, {v}变焦推近镜头"),
    "zoom out": words("{v}变焦缩小镜头, {v}变焦拉远镜头"),
    "handheld": words("手持镜头, 晃动的手持镜头"),
}
ZH_CAMERA_ADJECTIVE = {
    "slow": words("慢速, 缓慢的"),
    "normal": words("中速"),
    "fast": words("快速, 快速的", held="高速"),
}

ZH_OPENING = words("先是, 开头是, 第一个镜头是", held="开场是")
ZH_TRANSITION = {
    "cut": words("切到, 切换到, 然后切到", held="切入"),
    "dissolve": words("叠化到, 然后叠化到", text="溶解到", held="叠化为"),
    "fade": words("淡入淡出到, 然后淡入到, 淡入到", held="渐隐到"),
    "wipe": words("划像到, 然后划像到", text="擦除到", held="划变到"),
    "": words("接下来是, 下一个镜头是", held="后一个镜头是"),
}
ZH_SOME_SHOT = words("一个镜头")
ZH_OTHER_SHOT = words("另一个镜头, 新的镜头")
ZH_SHOTS = {
    "1": words("一镜到底, 只有一个镜头", held="单个镜头"),
    **{
        number: words(f"共{word}个镜头, 分{word}个镜头", held=f"由{word}个镜头组成")
        for number, word in zip("23456", "两三四五六", strict=True)
    },
}

ZH_STYLE = {
    "photoreal": words("写实, 真实, 照片", held="逼真"),
    "toon": words("卡通, 卡通动画", text="动画片", held="动漫"),
    "pencil": words("铅笔画, 铅笔素描", held="炭笔素描"),
    "watercolor": words("水彩, 水彩画", held="水彩插画"),
    "oil": words("油画", text="布面油画"),
    "pixel art": words("像素, 像素画", held="八位机"),
    "neon": words("霓虹, 霓虹灯", held="霓虹光"),
    "noir": words("黑色电影, 黑白电影", held="老黑白片"),
    "thermal": words("热成像, 热像仪", held="红外热图"),
    "blueprint": words("蓝图, 工程蓝图", held="晒图"),
    "ink wash": words("水墨画, 水墨, 中国水墨画", held="写意水墨"),
    "sepia": words("棕褐色老照片, 复古棕褐色", text="旧照片"),
    "comic": words("漫画, 漫画书", held="连环画"),
    "vhs": words("录像带, 老录像带", held="旧磁带"),
    "clay": words("黏土动画, 黏土", text="橡皮泥动画"),
    "x-ray": words("X光, X光片", held="X射线"),
    "hologram": words("全息, 全息投影", held="全息影像"),
    "chalkboard": words("粉笔画, 黑板画", held="黑板粉笔"),
    "stained glass": words("彩色玻璃, 彩绘玻璃", held="花窗玻璃"),
    "mosaic": words("马赛克, 马赛克拼贴", held="瓷片拼贴"),
    "night vision": words("夜视, 夜视仪", held="微光夜视"),
    "vaporwave": words("蒸汽波", text="蒸汽波艺术"),
    "paper cut": words("剪纸, 剪纸画", held="纸艺"),
    "ukiyo-e": words("浮世绘, 浮世绘版画", held="日本木版画"),
}
ZH_STYLE_PLACE = Words(("{s}风格", "{s}风格的画面"), ("{s}画风",), ("{s}式样",))

# Parts: B the things and where they are, C the camera, Y the style.
ZH_SLOTS = Words(("B|C|Y", "Y|B|C", "C|B|Y", "B|Y|C", "Y|C|B"), held=("C|Y|B",))
